"""PostgreSQL of one machine: the server out of a wheel, and who may run it."""
