"""Metrics of O!Dengi."""

from typing import Final

from prometheus_client import Counter

HASHES: Final = Counter(
    "evpower_odengi_hashes_total",
    "Hashes of the bank's answers and notices, by result; a wrong one may be a changed formula",
    ("source", "result"),  # answer | notice; right | wrong | missing
)
ELQR: Final = Counter(
    "evpower_odengi_elqr_total",
    "QR texts of new bills: verified, refused (not shown), missing",
    ("result",),
)
