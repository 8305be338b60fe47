"""Supabase rings: its signed calls, and the secrets that sign them."""
