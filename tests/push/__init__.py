"""Push messages: devices, what follows from sessions, their delivery by Web Push."""
