"""EvPower: the backend of a charging network with a prepaid wallet."""

__version__ = "0.1.0"
