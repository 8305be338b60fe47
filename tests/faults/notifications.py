"""Change notifications made by hand: authentic ones, and forgeries without the secret."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID, uuid4

SECRET: Final = "whsec_" + base64.b64encode(b"the secret of the tests, long enough").decode()
_OTHERS: Final = "whsec_" + base64.b64encode(b"what someone else would have guessed").decode()
FORGERIES: Final = ("unsigned", "other secret", "other body", "other id", "stale", "hex of nothing")


@dataclass(frozen=True)
class Notification:
    """A change notification that is not delivered yet."""

    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"<notification {self.headers.get('webhook-id', '?')}>"


def true_notification(
    client: UUID, secret: str = SECRET, *, at: float | None = None
) -> Notification:
    """What Supabase sends for an update of a client's row, signed."""
    body = json.dumps(
        {
            "type": "UPDATE",
            "table": "clients",
            "schema": "public",
            "record": {"id": str(client), "balance": 1_000_000, "status": "active"},
            "old_record": None,
        }
    ).encode()
    message, moment = f"evp_{uuid4().hex}", str(int(time.time() if at is None else at))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.digest(key, f"{message}.{moment}.".encode() + body, hashlib.sha256)
    signature = "v1," + base64.b64encode(digest).decode()
    return Notification(
        {
            "content-type": "application/json",
            "webhook-id": message,
            "webhook-timestamp": moment,
            "webhook-signature": signature,
            "x-supabase-signature": signature,
        },
        body,
    )


def forge(how: str, client: UUID) -> Notification:
    """One that must be refused and change nothing."""
    notification = true_notification(client)
    headers = dict(notification.headers)
    match how:
        case "unsigned":
            return Notification({"content-type": "application/json"}, notification.body)
        case "other secret":
            return true_notification(client, _OTHERS)
        case "other body":
            return Notification(headers, notification.body.replace(b"active", b"closed"))
        case "other id":
            return Notification(headers | {"webhook-id": f"evp_{uuid4().hex}"}, notification.body)
        case "stale":
            return true_notification(client, at=time.time() - 3600)
        case _:
            digest = hashlib.sha256(notification.body).hexdigest()
            plain = {"content-type": "application/json", "x-supabase-signature": digest}
            return Notification(plain, notification.body)
