"""Inbound sync: changes in Supabase are applied to EvPower."""
