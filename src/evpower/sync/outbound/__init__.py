"""Outbound sync: changes in EvPower are sent to Supabase."""
