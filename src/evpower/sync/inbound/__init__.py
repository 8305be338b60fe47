"""What changes in Supabase comes here."""
