"""A Supabase of one machine: its server, its packages, and its migrations."""
