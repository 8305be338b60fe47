"""What `make bench` runs: ours and a named peer or limit, in turn, in the same run."""
