"""A simulator of O!Dengi's bank: its API, a page to pay on, notices, and faults on demand.

For development only: any caller can make money out of nothing. It is written from the bank's public
behaviour, and shares no code with EvPower's side of the contract.
"""

from evpower.devstack.bank.odengi.server import create_odengi_bank, serve_odengi_bank

__all__ = ["create_odengi_bank", "serve_odengi_bank"]
