"""The operator API over every slice, as an operator calls it."""
