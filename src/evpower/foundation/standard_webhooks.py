"""Standard Webhooks signatures: "v1,<base64 of HMAC-SHA256>" over id.timestamp.body."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, cast

from evpower.foundation.errors import Unauthenticated

TOLERANCE_S: Final = 300
_MAX_CANDIDATES: Final = 10
_MAX_GIVEN: Final = 2_000
_MAX_ID: Final = 150
_MAX_DIGITS: Final = 12


@dataclass(frozen=True, slots=True)
class Signed:
    """The parsed headers of a message; `timestamp` in unix seconds."""

    message_id: str
    timestamp: int
    candidates: tuple[bytes, ...]


def key_bytes(secret: str) -> bytes:
    """Returns the bytes of a secret: base64 after "whsec_", else the text itself."""
    if secret.startswith("whsec_"):
        try:
            return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except binascii.Error as error:
            raise ValueError("a secret that starts with whsec_ must be base64 after it") from error
    return secret.encode()


def sign(key: bytes, message_id: str, timestamp: int, raw: bytes) -> str:
    """Returns the signature header of a message; `timestamp` in unix seconds."""
    signed = f"{message_id}.{timestamp}.".encode() + raw
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def read(message_id: str, timestamp: str, signatures: str) -> Signed | None:
    """Returns the three headers, or None if they are malformed. Computes nothing."""
    plain = (
        0 < len(message_id) <= _MAX_ID
        and message_id.isascii()
        and message_id.isprintable()
        and "." not in message_id
        and 0 < len(timestamp) <= _MAX_DIGITS
        and timestamp.isascii()
        and timestamp.isdigit()
        and timestamp == str(int(timestamp))
    )
    candidates = tuple(
        signature for signature in listed(signatures) if signature.startswith(b"v1,")
    )
    return Signed(message_id, int(timestamp), candidates) if plain and candidates else None


def listed(signatures: str) -> list[bytes]:
    """Returns the signatures of one header, which senders separate by ", " or by a space."""
    parts = signatures[:_MAX_GIVEN].split()[:_MAX_CANDIDATES]
    return [part.strip(",").encode("utf-8", "replace") for part in parts]


def header_lines(headers: Mapping[str, str], name: str) -> list[str]:
    """Returns every line of a header that may be repeated, in order."""
    getlist = getattr(headers, "getlist", None)
    if getlist is not None:
        return cast("list[str]", getlist(name))
    return [headers[name]] if name in headers else []


def only_line(headers: Mapping[str, str], name: str) -> str:
    """Returns the only line of a header; "" for none or several, of which one was signed."""
    lines = header_lines(headers, name)
    return lines[0] if len(lines) == 1 else ""


def is_timely(signed: Signed, now: datetime) -> bool:
    """Returns whether it was sent within 300 s of now, before or after."""
    return abs(now.timestamp() - signed.timestamp) <= TOLERANCE_S


def matches(signed: Signed, keys: Iterable[bytes], raw: bytes) -> bool:
    """Returns whether one of the keys made one of the signatures over exactly these bytes."""
    return any_equal(
        (sign(key, signed.message_id, signed.timestamp, raw).encode() for key in keys),
        signed.candidates,
    )


def any_equal(expected: Iterable[bytes], candidates: Sequence[bytes]) -> bool:
    """Compares all pairs without an early end, so that the duration shows nothing."""
    good = False
    for signature in expected:
        for candidate in candidates:
            good |= hmac.compare_digest(signature, candidate)
    return good


def verify(keys: Sequence[bytes], headers: Mapping[str, str], raw: bytes, now: datetime) -> str:
    """Checks the headers against the raw bytes with every key. Returns the message's id.

    One valid signature is enough, in one line of the header or in several: a sender that rotates
    its key, or a proxy between, may write either. The id and the time must occur once. Raises
    Unauthenticated("invalid_signature"), or ("stale_webhook") when an authentic message is more
    than 300 s old or ahead.
    """
    signed = read(
        only_line(headers, "webhook-id"),
        only_line(headers, "webhook-timestamp"),
        " ".join(header_lines(headers, "webhook-signature")),
    )
    if signed is None or not matches(signed, keys, raw):
        raise Unauthenticated("invalid_signature", "the signature does not match")
    if not is_timely(signed, now):
        raise Unauthenticated("stale_webhook", "the webhook is too old or ahead of time")
    return signed.message_id
