"""Standard Webhooks signatures: "v1,<base64 of HMAC-SHA256>" over id.timestamp.body."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from evpower.foundation.errors import Unauthenticated

TOLERANCE_S: Final = 300
_MAX_CANDIDATES: Final = 10
_MAX_ID: Final = 150
_MAX_DIGITS: Final = 12


def key_bytes(secret: str) -> bytes:
    """The bytes of a secret: base64 after "whsec_", else the text itself."""
    if secret.startswith("whsec_"):
        try:
            return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except binascii.Error as error:
            raise ValueError("a secret that starts with whsec_ must be base64 after it") from error
    return secret.encode()


def sign(key: bytes, message_id: str, timestamp: int, raw: bytes) -> str:
    """The signature header of a message; `timestamp` in unix seconds."""
    signed = f"{message_id}.{timestamp}.".encode() + raw
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def verify(keys: Sequence[bytes], headers: Mapping[str, str], raw: bytes, now: datetime) -> str:
    """Check the headers against the raw bytes with every key; answers the message's id.

    Raises Unauthenticated("invalid_signature"), or ("stale_webhook") when an authentic message is
    more than 300 s old or ahead.
    """
    message_id = headers.get("webhook-id", "")
    timestamp = headers.get("webhook-timestamp", "")
    given = headers.get("webhook-signature", "")
    # Some senders join several signatures with ", ": accept the comma after each.
    candidates = [
        one.encode("utf-8", "replace")
        for part in given.split()[:_MAX_CANDIDATES]
        if (one := part.strip(",")).startswith("v1,")
    ]
    plain = (
        0 < len(message_id) <= _MAX_ID
        and message_id.isascii()
        and message_id.isprintable()
        and "." not in message_id
        and 0 < len(timestamp) <= _MAX_DIGITS
        and timestamp.isascii()
        and timestamp.isdigit()
    )
    if not plain or not candidates:
        raise Unauthenticated("invalid_signature", "the signature does not match")
    good = False
    for key in keys:  # every one, without an early end, so that time tells nothing
        expected = sign(key, message_id, int(timestamp), raw).encode()
        for candidate in candidates:
            good |= hmac.compare_digest(expected, candidate)
    if not good:
        raise Unauthenticated("invalid_signature", "the signature does not match")
    if abs(now.timestamp() - int(timestamp)) > TOLERANCE_S:
        raise Unauthenticated("stale_webhook", "the webhook is too old or ahead of time")
    return message_id
