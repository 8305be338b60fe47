"""Reconciliation: compares both sides, and repairs what one side is right about."""
