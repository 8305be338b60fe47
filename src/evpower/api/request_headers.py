"""The request headers the edge reads."""

import re
from typing import Final

_SANE_ID: Final = re.compile(rb"[A-Za-z0-9._~-]{8,128}")


class RequestHeaders:
    """The request headers the edge reads, found in one pass."""

    __slots__ = ("accept_language", "credential", "expect", "forwarded_for", "json", "key",
                 "length", "origin", "preflight", "request_id")  # fmt: skip

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:  # noqa: C901 - one pass, one branch a header
        self.accept_language = self.origin = self.forwarded_for = ""
        self.credential = self.expect = self.json = self.preflight = False
        self.key: bytes | None = None
        self.length = -1
        self.request_id = b""
        for name, value in raw:
            if name == b"accept-language":
                self.accept_language = value.decode("latin-1")
            elif name in (b"authorization", b"x-service-key"):
                self.credential = True
            elif name == b"content-length":
                self.length = int(value) if value.isdigit() and len(value) < 20 else -1  # noqa: PLR2004
            elif name == b"content-type":
                self.json = b"json" in value.lower()
            elif name == b"idempotency-key":
                self.key = value
            elif name == b"origin":
                self.origin = value.decode("latin-1")
            elif name == b"x-forwarded-for":
                self.forwarded_for += ("," if self.forwarded_for else "") + value.decode("latin-1")
            elif name == b"x-request-id":
                self.request_id = value if _SANE_ID.fullmatch(value) else b""
            elif name == b"expect":
                self.expect = True
            elif name == b"access-control-request-method":
                self.preflight = True
