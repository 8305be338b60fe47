"""Sign-in by a code sent to the phone: codes, limits, senders, tokens of EvPower's own."""
