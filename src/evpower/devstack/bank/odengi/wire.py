"""The bank's hashes, its JSON as PHP writes it, and ELQR texts. Written for the simulator alone."""

import hashlib
import hmac
import json
import re
from typing import Any, Final, cast

_SIGNED: Final = (
    "trans_id", "status_pay", "site_id", "order_id", "amount", "currency", "mktime", "test",
)  # fmt: skip
_OWN_HASH: Final = re.compile(rb',"hash":"[0-9a-fA-F]{32}"\}\s*$')


def mac(password: bytes, message: bytes) -> str:
    """Returns the hex HMAC-MD5."""
    return hmac.new(password, message, hashlib.md5).hexdigest()


def write_json(value: object) -> bytes:
    """Returns compact JSON as PHP writes it with raw Unicode and slashes."""
    text = json.dumps(_as_php(value), ensure_ascii=False, separators=(",", ":"))
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029").encode()


def request_hash_is_right(password: bytes, raw: bytes, body: dict[str, Any]) -> bool:
    """Whether the hash is right over the bytes as sent and over the body written anew.

    It is not known which of the two the real bank does: the simulator demands both.
    """
    theirs = str(body.get("hash", "")).lower()
    as_sent = _OWN_HASH.sub(b"}", raw)
    anew = write_json({name: value for name, value in body.items() if name != "hash"})
    return all(
        hmac.compare_digest(theirs.encode(), mac(password, message).encode())
        for message in (as_sent, anew)
    )


def sign_answer(password: bytes, answer: dict[str, Any]) -> bytes:
    """Returns an answer with its hash, which is last."""
    message = write_json(answer)
    return write_json(answer | {"hash": mac(password, message)})


def sign_notice(password: bytes, fields: dict[str, Any]) -> str:
    """Returns the hash of a notice, over the texts of eight members."""
    texts = ("" if fields.get(name) is None else str(fields[name]) for name in _SIGNED)
    return mac(password, ":::".join(texts).encode())


def elqr(invoice_id: str, amount: int, name: str, *, editable: bool, damaged: bool) -> str:
    """Returns the fields of an ELQR text with its checksum."""
    service = _field("00", "qr.dengi.kg") + _field("01", "20") + _field("11", invoice_id)
    service += _field("12", "11" if editable else "12") + _field("13", "12")
    text = _field("00", "01") + _field("01", "12") + _field("32", service)
    text += _field("52", "5552") + _field("53", "417") + _field("54", str(amount))
    text += _field("59", name[:25])
    digest = hashlib.sha256(text.encode()).hexdigest()[-4:].upper()
    if damaged:
        digest = f"{(int(digest, 16) + 1) % 65536:04X}"
    return text + _field("63", digest)


def _field(tag: str, value: str) -> str:
    return f"{tag}{len(value):02}{value}"


def _as_php(value: object) -> object:
    """PHP reads an empty object as an empty list."""
    if isinstance(value, dict):
        members = cast("dict[str, object]", value)
        return {name: _as_php(member) for name, member in members.items()} or []
    if isinstance(value, list):
        return [_as_php(member) for member in cast("list[object]", value)]
    return value
