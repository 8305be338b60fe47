"""Checks the signature of a call: Standard Webhooks headers, or a plain HMAC-SHA256 of the body."""

import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from starlette.datastructures import Headers

from evpower.foundation import standard_webhooks
from evpower.foundation.errors import Unauthenticated
from evpower.foundation.standard_webhooks import Signed

Form = Literal["standard", "plain"]
RefusalReason = Literal["unsigned", "malformed", "stale", "forged", "no_secret"]

# No quote, brace or space: the text signed in the standard form (id.timestamp.body) is then never a
# JSON object that would pass in the plain form.
_ID: Final = re.compile(r"[A-Za-z0-9_:+/=-]+")
_HEX: Final = re.compile(rb"[0-9a-f]{64}")
_BETWEEN: Final = re.compile(r"[|,\s]+")


class SignatureRefused(Unauthenticated):
    """401 that does not tell the caller why; `reason` is for the metric and the log."""

    def __init__(self, reason: RefusalReason) -> None:
        super().__init__("invalid_signature", "the signature does not match")
        self.reason: RefusalReason = reason


@dataclass(frozen=True, slots=True)
class SignatureClaim:
    """The signature in the headers, not verified yet, in one of the two forms."""

    standard: Signed | None
    digests: tuple[bytes, ...]

    @property
    def form(self) -> Form:
        """Which of the two forms it is."""
        return "plain" if self.standard is None else "standard"


def read_claim(headers: Headers, now: datetime) -> SignatureClaim:
    """Returns the signature in the headers, in linear time. Raises SignatureRefused.

    A message with an id or a time uses the standard form; its signature may then stand in
    X-Supabase-Signature as well.
    """
    own = " ".join(headers.getlist("x-supabase-signature"))
    message_id = standard_webhooks.only_line(headers, "webhook-id")
    timestamp = standard_webhooks.only_line(headers, "webhook-timestamp")
    if "webhook-id" in headers or "webhook-timestamp" in headers:
        given = " ".join([*headers.getlist("webhook-signature"), own])
        signed = standard_webhooks.read(message_id, timestamp, given)
        if signed is None or _ID.fullmatch(message_id) is None:
            raise SignatureRefused("malformed")
        if not standard_webhooks.is_timely(signed, now):
            raise SignatureRefused("stale")
        return SignatureClaim(signed, ())
    if not own:
        raise SignatureRefused("unsigned")
    values = [value.lower().removeprefix(b"sha256=") for value in standard_webhooks.listed(own)]
    digests = tuple(value for value in values if _HEX.fullmatch(value))
    if not digests:
        raise SignatureRefused("malformed")
    return SignatureClaim(None, digests)


def is_authentic(claim: SignatureClaim, keys: Iterable[bytes], raw: bytes) -> bool:
    """Returns whether one of the keys signed exactly these bytes; every pair is compared."""
    if claim.standard is not None:
        return standard_webhooks.matches(claim.standard, keys, raw)
    expected = (hmac.digest(key, raw, hashlib.sha256) for key in keys)
    return standard_webhooks.any_equal(map(binascii.hexlify, expected), claim.digests)


def parse_secrets(text: str) -> tuple[bytes, ...]:
    """Returns the keys of a text like "v1,whsec_...|v1,whsec_...", also with spaces or commas.

    Raises ValueError for what can't be a key of HMAC-SHA256.
    """
    parts = (part for part in _BETWEEN.split(text) if part not in ("", "v1"))
    return tuple(dict.fromkeys(parse_secret(part) for part in parts))


def parse_secret(text: str) -> bytes:
    """Returns the key of a secret: "whsec_<base64>", with "v1," before it or not, or plain text."""
    bare = text.strip().removeprefix("v1,")
    if bare.startswith(("v1a,", "whsk_", "whpk_")) or bare == "v1a":
        raise ValueError("asymmetric webhook keys (v1a) are not what Supabase signs with")
    key = standard_webhooks.key_bytes(bare)
    if not key:
        raise ValueError("a webhook secret is empty")
    return key
