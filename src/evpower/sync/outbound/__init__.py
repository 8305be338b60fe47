"""What changes here goes to Supabase."""
