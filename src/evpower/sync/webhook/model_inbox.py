"""Types of the webhooks from Supabase."""

from dataclasses import dataclass
from typing import Literal

NotificationSource = Literal["webhook", "plain", "auth"]
InboxOutcome = Literal["accepted", "repeated", "reused"]


@dataclass(frozen=True, slots=True)
class ChangeNotification:
    """An authentic call. `kind` and `row_id` are shown to operators; the sync does not use them."""

    source: NotificationSource
    event_id: str
    body_sha256: bytes
    kind: str
    row_id: str | None
