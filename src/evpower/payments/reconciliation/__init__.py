"""Reconciliation with providers: ours, theirs, and an owner's decision about what differs."""
