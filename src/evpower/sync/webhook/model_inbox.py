"""The words of the webhooks from Supabase."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Source = Literal["webhook", "plain", "auth"]
Outcome = Literal["accepted", "repeated", "reused"]


@dataclass(frozen=True, slots=True)
class Rung:
    """An authentic call. `kind` and `row_id` are for people: nothing is done because of them."""

    source: Source
    event_id: str
    body_sha256: bytes
    kind: str
    row_id: str | None


@dataclass(frozen=True, slots=True)
class Inbox:
    """The last call, and those of the last hour."""

    last_at: datetime | None
    last_kind: str | None
    accepted: int
    repeated: int
    reused: int
