"""One machine, nothing installed by hand: embedded PostgreSQL and a local Supabase."""
