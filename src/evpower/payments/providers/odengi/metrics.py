"""Metrics of O!Dengi."""

from typing import Final

from prometheus_client import Counter

HASHES: Final = Counter(
    "evpower_odengi_hashes_total",
    "Hashes of the bank's answers and notices, by result; a wrong one may be a changed formula",
    ("source", "result"),  # answer | notice; right | wrong | missing
)
for _source in ("answer", "notice"):
    for _result in ("right", "wrong", "missing"):
        HASHES.labels(_source, _result)  # a rule can only compare what has a value
ELQR: Final = Counter(
    "evpower_odengi_elqr_total",
    "QR texts of new bills: verified, refused (not shown), missing",
    ("result",),
)
