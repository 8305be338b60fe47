"""Metrics of the wallet."""

from collections.abc import Iterable
from typing import Final

from prometheus_client import Counter, Histogram

from evpower.wallet.model import Posting

POSTINGS: Final = Counter(
    "evpower_wallet_postings", "Wallet operations by outcome", ["operation", "outcome"]
)
BATCH_SIZE: Final = Histogram(
    "evpower_wallet_batch_size",
    "Calls grouped into one statement",
    ["operation"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
)
BATCH_RETRIES: Final = Counter(
    "evpower_wallet_batch_retries", "Batches that failed and were tried one by one", ["operation"]
)


def count(operation: str, posting: Posting) -> Posting:
    """Counts one outcome; returns the posting."""
    POSTINGS.labels(operation, posting.outcome).inc()
    return posting


def count_many(operation: str, postings: Iterable[Posting]) -> None:
    """Counts the outcomes of a batch, one metric update for each kind."""
    outcomes: dict[str, int] = {}
    for posting in postings:
        outcomes[posting.outcome] = outcomes.get(posting.outcome, 0) + 1
    for outcome, times in outcomes.items():
        POSTINGS.labels(operation, outcome).inc(times)
