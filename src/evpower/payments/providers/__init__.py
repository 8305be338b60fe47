"""The providers EvPower can speak to, one file each."""
