"""The actions of OCPP 1.6 that stations send, one file each."""
