"""The SMS carrier's simulator: it sends nothing, and shows what it would have sent."""
