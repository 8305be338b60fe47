"""Both sides compared, and healed by authority."""
