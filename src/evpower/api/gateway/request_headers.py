"""The request headers the gateway reads."""

import re
from typing import Final

_SANE_ID: Final = re.compile(rb"[A-Za-z0-9._~-]{8,128}")
_KEY_PREFIX: Final = b"evp_"  # of a service key, which may also come as a bearer token
_MAX_DIGITS: Final = 20


class RequestHeaders:
    """The request headers the gateway reads, collected in one pass."""

    __slots__ = ("accept_language", "chunked", "content_type", "credential", "expect",
                 "forwarded_for", "key", "length", "origin", "preflight", "request_id",
                 "service_key")  # fmt: skip

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:  # noqa: C901, PLR0912 - one branch a header
        self.accept_language = self.origin = self.forwarded_for = ""
        self.chunked = self.credential = self.expect = self.preflight = False
        self.content_type = b""
        self.key: bytes | None = None
        self.service_key: bytes | None = None
        self.length = -1
        self.request_id = b""
        for name, value in raw:
            if name == b"accept-language":
                self.accept_language = value.decode("latin-1")
            elif name == b"authorization":
                self.credential = True
                token = value[7:].strip() if value[:7].lower() == b"bearer " else b""
                if token.startswith(_KEY_PREFIX):
                    self.service_key = token
            elif name == b"x-service-key":
                self.credential = True
                self.service_key = value
            elif name == b"content-length":
                self.length = int(value) if value.isdigit() and len(value) < _MAX_DIGITS else -1
            elif name == b"transfer-encoding":
                self.chunked = True
            elif name == b"content-type":
                self.content_type = value.lower()
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

    @property
    def has_no_body(self) -> bool:
        """Whether the head announces no body."""
        return self.length <= 0 and not self.chunked
