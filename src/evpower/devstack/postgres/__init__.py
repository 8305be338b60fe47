"""PostgreSQL on one machine: the server from a wheel, and the account that runs it."""
