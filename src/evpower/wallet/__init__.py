"""A client's prepaid money: post, hold, read, verify.

Functions take a connection inside the caller's transaction; `WalletBatcher` commits by itself.
"""

from evpower.wallet.batching import WalletBatcher
from evpower.wallet.model import Posting
from evpower.wallet.module import module
from evpower.wallet.post import (
    charge,
    charge_many,
    correct,
    credit,
    credit_many,
    order_payment_refund,
    order_settlement_refund,
    refund,
    refund_many,
)
from evpower.wallet.reserve import (
    POSTING,
    extend_hold,
    hold,
    judge_hold,
    posting_of,
    release_hold,
)
from evpower.wallet.statement import balance
from evpower.wallet.store import get_hold, get_wallet, get_wallets
from evpower.wallet.verify import Discrepancy, LedgerReport, verify

# What slices above may read of the tables.
PUBLIC_VIEWS = ("wallet.balances", "wallet.transactions_public", "wallet.holds_public")

__all__ = [
    "POSTING",
    "PUBLIC_VIEWS",
    "Discrepancy",
    "LedgerReport",
    "Posting",
    "WalletBatcher",
    "balance",
    "charge",
    "charge_many",
    "correct",
    "credit",
    "credit_many",
    "extend_hold",
    "get_hold",
    "get_wallet",
    "get_wallets",
    "hold",
    "judge_hold",
    "module",
    "order_payment_refund",
    "order_settlement_refund",
    "posting_of",
    "refund",
    "refund_many",
    "release_hold",
    "verify",
]
