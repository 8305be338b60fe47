"""The payment providers that EvPower supports, one file each."""
