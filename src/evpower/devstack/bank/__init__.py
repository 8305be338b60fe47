"""The sandbox bank: its server, page, webhooks and state."""
