"""What `make bench` runs: ours and a named baseline or limit, in turn, in the same run."""
