"""Signs requests to O!Dengi, and verifies its notices and answers: HMAC-MD5 with the API password.

Contract: docs/providers/odengi.md. MD5 is the bank's choice; as the hash of an HMAC it is not
broken.
"""

import hmac
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal, cast

VERSION: Final = 1005
LANGUAGE: Final = "ru"
_JOINT: Final = ":::"
_SIGNED_MEMBERS: Final = (
    "trans_id",
    "status_pay",
    "site_id",
    "order_id",
    "amount",
    "currency",
    "mktime",
    "test",
)
# The bank's server may write the text anew before it checks the hash: what PHP writes otherwise
# than Python may not be in it.
_UNSAFE: Final = re.compile("[\u2028\u2029\ud800-\udfff]")
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_HASH: Final = re.compile(rb'"hash"\s*:\s*"([^"\\]*)"(?=\s*[,}])')

MktimeUnit = Literal["ms", "s"]
AnswerHash = Literal["right", "wrong", "missing"]


def hash_of(password: bytes, message: bytes) -> str:
    """Returns the HMAC-MD5 in lower-case hex."""
    return hmac.digest(password, message, "md5").hex()


def mktime(now: datetime, unit: MktimeUnit) -> str:
    """Returns the time of a request: Unix milliseconds (the bank's own sample) or seconds."""
    milliseconds = round(now.timestamp() * 1000)
    return str(milliseconds if unit == "ms" else milliseconds // 1000)


def safe_text(text: str, *, most: int) -> str:
    """Returns a text in one line, cut, that every JSON writer writes alike."""
    return _CONTROL.sub(" ", text)[:most].strip()


def request_body(
    password: bytes, *, command: str, sid: str, time: str, data: Mapping[str, Any]
) -> bytes:
    """Returns the bytes to send: compact JSON in UTF-8, `hash` last, over the bytes without it.

    Raises ValueError for data that another JSON writer may write otherwise: floats, an empty
    object, line separators.
    """
    members: dict[str, object] = {
        "cmd": command,
        "version": VERSION,
        "sid": sid,
        "mktime": time,
        "lang": LANGUAGE,
        "data": dict(data),
    }
    _demand_plain(members)
    text = json.dumps(members, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    message = text.encode()
    return b'%b,"hash":"%b"}' % (message[:-1], hash_of(password, message).encode())


def notice_is_signed(password: bytes, fields: Mapping[str, str]) -> bool:
    """Whether a notice's hash is right; `fields` are the texts of its members as they were sent."""
    message = _JOINT.join(fields.get(name, "") for name in _SIGNED_MEMBERS)
    try:
        return _is_same(hash_of(password, message.encode()), fields.get("hash", ""))
    except UnicodeEncodeError:
        return False


def answer_hash(password: bytes, raw: bytes) -> AnswerHash:
    """Returns whether the hash of an answer is that of its JSON without `hash`, as it was sent.

    The rule is known of one source only: a wrong one is counted, and never a reason to refuse.
    """
    matches = list(_HASH.finditer(raw))
    if not matches:
        return "missing"
    last = matches[-1]
    # Cut off here: a pattern that begins with spaces is searched anew from each of them.
    before = raw[: last.start()].rstrip().removesuffix(b",").rstrip()
    message = before + raw[last.end() :]
    if message.startswith(b"{,"):
        message = b"{" + message[2:]
    theirs = last[1].decode("ascii", "replace")
    is_right = _is_same(hash_of(password, message.strip()), theirs)
    return "right" if is_right else "wrong"


def _is_same(ours: str, theirs: str) -> bool:
    return hmac.compare_digest(ours.encode(), theirs.lower().encode(errors="replace"))


def _demand_plain(value: object) -> None:
    if isinstance(value, str):
        if _UNSAFE.search(value):
            raise ValueError("a text holds a line separator or half of a character")
    elif isinstance(value, dict):
        members = cast("dict[object, object]", value)
        if not members or not all(isinstance(name, str) for name in members):
            raise ValueError("an object is empty, or has a name that is no text")
        for member in members.values():
            _demand_plain(member)
    elif not (value is None or isinstance(value, int)):
        raise ValueError(f"a {type(value).__name__} may be written in several ways")
