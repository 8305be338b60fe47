"""Reads ELQR, the national QR of Kyrgyzstan, and verifies one before a driver sees it.

Format: specification 1.3.1 as in github.com/qr-kg/elqr-js. `<address of a bank>#<fields>`; a field
is a tag of 2 digits, a length of 2 digits counted in characters, and a value. The address may be
missing. The order of the fields differs between banks.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

MAX_TEXT: Final = 4096  # characters
_SERVICE: Final = "32"
_CURRENCY: Final = "53"
_AMOUNT: Final = "54"
_CHECKSUM: Final = "63"
_EDITABLE: Final = "12"  # of the service's fields
_FIXED: Final = "12"  # the value that says: the payer can't edit the amount
_VERSION: Final = "00"
_VERSION_1: Final = "01"
_KGS: Final = "417"
_HEAD: Final = 4  # characters before a value: tag and length
_CHECKSUM_LENGTH: Final = 4
_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_TWO_DIGITS: Final = re.compile(r"[0-9]{2}")
_DIGITS: Final = re.compile(r"[0-9]{1,15}")


class NotElqr(ValueError):
    """The text is no ELQR; says why."""


@dataclass(frozen=True, slots=True)
class Elqr:
    """The fields of an ELQR text by tag; of a field that holds fields, those are in `service`."""

    fields: Mapping[str, str]
    service: Mapping[str, str]  # of tag 32; empty without one
    signed: str  # what the checksum is over: all fields before it
    checksum: str

    @property
    def is_intact(self) -> bool:
        """Whether the checksum is that of the fields before it, in either case of its letters."""
        return hmac.compare_digest(checksum(self.signed).encode(), self.checksum.lower().encode())


def checksum(signed: str) -> str:
    """Returns the last 4 hex digits, in lower case, of SHA-256 over the fields before tag 63."""
    return hashlib.sha256(signed.encode()).hexdigest()[-_CHECKSUM_LENGTH:]


def read_elqr(text: str) -> Elqr:
    """Parses an ELQR text, with or without an address before it. Raises NotElqr."""
    if len(text) > MAX_TEXT:
        raise NotElqr(f"is longer than {MAX_TEXT} characters")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise NotElqr("has half of a character") from error
    body = _body(text)
    fields = _read_fields(body)
    signed = body[: -(_HEAD + _CHECKSUM_LENGTH)]
    if list(fields)[-1:] != [_CHECKSUM] or len(fields[_CHECKSUM]) != _CHECKSUM_LENGTH:
        raise NotElqr("does not end in a checksum")
    service = _read_fields(fields[_SERVICE]) if _SERVICE in fields else {}
    return Elqr(fields, service, signed, fields[_CHECKSUM])


def verified_elqr(text: str, *, amount_minor: int) -> str:
    """Returns the text to show to the payer of a bill of that amount, percent-decoded.

    Raises NotElqr unless the checksum is right, and the text says that amount and that the payer
    can't edit it.
    """
    flaws: list[str] = []
    for reading in _readings(text):
        flaw = _flaw(reading, amount_minor)
        if flaw is None:
            return reading
        flaws.append(flaw)
    raise NotElqr(flaws[0])


def _flaw(text: str, amount_minor: int) -> str | None:
    try:
        elqr = read_elqr(text)
    except NotElqr as error:
        return str(error)
    amount = elqr.fields.get(_AMOUNT, "")
    has_amount = bool(_DIGITS.fullmatch(amount)) and int(amount) == amount_minor
    rules = (
        (elqr.fields.get(_VERSION) == _VERSION_1, "is of an unknown version"),
        (elqr.is_intact, "has a wrong checksum"),
        (has_amount, "holds another amount"),
        (elqr.fields.get(_CURRENCY, _KGS) == _KGS, "holds another currency"),
        (elqr.service.get(_EDITABLE) == _FIXED, "lets the payer edit the amount"),
    )
    return next((flaw for holds, flaw in rules if not holds), None)


def _readings(text: str) -> list[str]:
    """Returns the decoded text first, then the text as it came if that is another one."""
    if "%" not in text or _ESCAPE.search(text):
        return [text]
    try:
        return [unquote(text, errors="strict"), text]
    except UnicodeDecodeError:
        return [text]


def _body(text: str) -> str:
    if text.startswith(f"{_VERSION}02"):
        return text
    _, separator, body = text.partition("#")
    if not separator:
        raise NotElqr("has no fields")
    return body


def _read_fields(body: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    at = 0
    while at < len(body):
        tag, length = body[at : at + 2], body[at + 2 : at + _HEAD]
        if not (_TWO_DIGITS.fullmatch(tag) and _TWO_DIGITS.fullmatch(length)):
            raise NotElqr(f"has no field at character {at + 1}")
        end = at + _HEAD + int(length)
        if end > len(body):
            raise NotElqr(f"ends inside of field {tag}")
        if tag in fields:
            raise NotElqr(f"has field {tag} twice")
        fields[tag] = body[at + _HEAD : end]
        at = end
    return fields
