"""Types of live updates: amounts in minor units (tyiyn), energy in Wh, aware UTC."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID


@dataclass(frozen=True, slots=True)
class BalanceState:
    """A wallet as its client sees it."""

    client_id: UUID
    currency: str
    balance_minor: int
    held_minor: int
    version: int  # of the last transaction, as everywhere else
    revision: int  # of the wallet: holds raise it too, so it orders the states
    updated_at: datetime
    closed: bool = False  # the client was closed, and its sockets are closed too


@dataclass(frozen=True, slots=True)
class CloseReason:
    """Why a socket is closed: a code of the table in docs/live.md, and a detail."""

    code: int
    reason: str


BAD_MESSAGE: Final = CloseReason(4400, "bad_message")
TOKEN_IN_URL: Final = CloseReason(4400, "token_in_url")
MISSING_TOKEN: Final = CloseReason(4401, "missing_token")
TOKEN_EXPIRED: Final = CloseReason(4401, "token_expired")
OTHER_CLIENT: Final = CloseReason(4403, "other_client")
CLIENT_CLOSED: Final = CloseReason(4403, "client_closed")
AUTH_TIMEOUT: Final = CloseReason(4408, "auth_timeout")
SUPERSEDED: Final = CloseReason(4409, "superseded")
TOO_MANY_MESSAGES: Final = CloseReason(4429, "too_many_messages")
RESTART: Final = CloseReason(1012, "restart")
TOO_SLOW: Final = CloseReason(1013, "too_slow")
TRY_LATER: Final = CloseReason(1013, "try_later")
FAILED: Final = CloseReason(1011, "internal_error")
