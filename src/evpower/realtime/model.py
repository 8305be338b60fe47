"""What live updates are about: amounts in minor units (tyiyn), energy in Wh, aware UTC."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from evpower.charging import State


@dataclass(frozen=True, slots=True)
class Balance:
    """A wallet as its client sees it."""

    client_id: UUID
    currency: str
    balance_minor: int
    held_minor: int
    version: int  # of the last transaction, as everywhere else
    revision: int  # of the wallet: holds raise it too, so it orders what is shown
    changed_at: datetime
    closed: bool = False  # the client was closed: nobody watches any more


@dataclass(frozen=True, slots=True)
class Session:
    """A charging session as its client sees it."""

    id: UUID
    client_id: UUID
    station_id: str
    connector_id: int
    state: State
    energy_wh: int
    cost_minor: int
    started_at: datetime | None
    ended_at: datetime | None
    revision: int
    created_at: datetime
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a socket is closed: a code of the table in docs/live.md, and a word saying more."""

    code: int
    reason: str


BAD_MESSAGE: Final = Ending(4400, "bad_message")
TOKEN_IN_URL: Final = Ending(4400, "token_in_url")
MISSING_TOKEN: Final = Ending(4401, "missing_token")
TOKEN_EXPIRED: Final = Ending(4401, "token_expired")
OTHER_CLIENT: Final = Ending(4403, "other_client")
CLIENT_CLOSED: Final = Ending(4403, "client_closed")
AUTH_TIMEOUT: Final = Ending(4408, "auth_timeout")
SUPERSEDED: Final = Ending(4409, "superseded")
TOO_MANY_MESSAGES: Final = Ending(4429, "too_many_messages")
RESTART: Final = Ending(1012, "restart")
TOO_SLOW: Final = Ending(1013, "too_slow")
TRY_LATER: Final = Ending(1013, "try_later")
FAILED: Final = Ending(1011, "internal_error")
