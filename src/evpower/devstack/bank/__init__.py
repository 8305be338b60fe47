"""The sandbox bank: its server, its page, its webhooks, what it remembers."""
