"""What real stations do off the protocol, each by its number: the frames, and the right bill."""
