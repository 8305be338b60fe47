"""What every slice stands on. Knows nothing of charging."""
