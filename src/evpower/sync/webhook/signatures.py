"""Whether Supabase signed a call: Standard Webhooks headers, or a plain HMAC-SHA256 of the body."""

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

# No quote, brace or space: what is signed in one form (id.timestamp.body) is never a JSON object
# that could pass in the other.
_ID: Final = re.compile(r"[A-Za-z0-9_:+/=-]+")
_HEX: Final = re.compile(rb"[0-9a-f]{64}")
_BETWEEN: Final = re.compile(r"[|,\s]+")


class SignatureRefused(Unauthenticated):
    """401 without a word of why: `reason` is for our metric alone."""

    def __init__(self, reason: RefusalReason) -> None:
        super().__init__("invalid_signature", "the signature does not match")
        self.reason: RefusalReason = reason


@dataclass(frozen=True, slots=True)
class SignatureClaim:
    """What the headers claim, before anything is computed: one of the two forms."""

    standard: Signed | None
    digests: tuple[bytes, ...]

    @property
    def form(self) -> Form:
        """Which of the two."""
        return "plain" if self.standard is None else "standard"


def read_claim(headers: Headers, now: datetime) -> SignatureClaim:
    """Read the headers; costs no more than their length. Raises Refused.

    The standard form is meant when the message has an id or a time; its signature may then come in
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
    said = [one.lower().removeprefix(b"sha256=") for one in standard_webhooks.listed(own)]
    digests = tuple(one for one in said if _HEX.fullmatch(one))
    if not digests:
        raise SignatureRefused("malformed")
    return SignatureClaim(None, digests)


def is_authentic(claim: SignatureClaim, keys: Iterable[bytes], raw: bytes) -> bool:
    """Whether one of the keys signed these very bytes; every pair is compared."""
    if claim.standard is not None:
        return standard_webhooks.matches(claim.standard, keys, raw)
    expected = (hmac.digest(key, raw, hashlib.sha256) for key in keys)
    return standard_webhooks.any_equal(map(binascii.hexlify, expected), claim.digests)


def parse_secrets(text: str) -> tuple[bytes, ...]:
    """The keys in a text like "v1,whsec_...|v1,whsec_...", also with spaces or commas between.

    Raises ValueError for what can't be a key of HMAC-SHA256.
    """
    parts = (part for part in _BETWEEN.split(text) if part not in ("", "v1"))
    return tuple(dict.fromkeys(parse_secret(part) for part in parts))


def parse_secret(text: str) -> bytes:
    """The key in one secret: "whsec_<base64>", with "v1," before it or not, or plain text."""
    bare = text.strip().removeprefix("v1,")
    if bare.startswith(("v1a,", "whsk_", "whpk_")) or bare == "v1a":
        raise ValueError("asymmetric webhook keys (v1a) are not what Supabase signs with")
    key = standard_webhooks.key_bytes(bare)
    if not key:
        raise ValueError("a webhook secret is empty")
    return key
