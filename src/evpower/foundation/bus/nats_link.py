"""One connection to a NATS server: opened completely or not at all, checked, closed in time.

The client's own reconnecting is not used: it gives up for good when credentials expire, and never
leaves a server that stopped reading with data under way (docs/decisions/0020, with figures). The
owner of a link opens a new one.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, Self

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import ProtocolError
from nats.protocol.parser import Parser

from evpower.foundation.bus.nats_keys import NatsFiles, NatsKey
from evpower.foundation.bus.nats_servers import NatsServer

_CONNECT_S: Final = 2
_OPEN_S: Final = 6.0
_HANG_UPS: Final = 2  # retries when the server hangs up without a reason
_ROUND_TRIP_S: Final = 2
_CLOSE_S: Final = 1.0
_NEVER_S: Final = 10**8
_PENDING_OUT_BYTES: Final = 128 * 1024
_PENDING_IN_BYTES: Final = 8 * 1024 * 1024
_PENDING_IN: Final = 4096
_LARGEST_IN_BYTES: Final = 1024 * 1024  # NATS' own limit; EvPower's messages have 17 KB at most

Handler = Callable[[bytes], Awaitable[None]]
_NO_FILES: Final = NatsFiles()


def _nothing() -> None:
    """No-op callback."""


class _Parser(Parser):
    """Parses what the server sends, with a limit on the size of a message."""

    async def parse(self, data: bytes = b"") -> None:
        await super().parse(data)
        if len(self.buf) > _LARGEST_IN_BYTES or self.needed > _LARGEST_IN_BYTES:
            raise ProtocolError


class _Client(Client):
    """The client of nats-py with three additions: TLS is enforced, nkeys, an immediate abort."""

    tls_demanded = False

    def __init__(self) -> None:
        super().__init__()
        self._ps = _Parser(self)

    def sign_in_with(self, key: NatsKey) -> None:
        """Signs the server's challenge with this key."""
        self._public_nkey = key.public

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:  # noqa: FBT001, FBT002 - theirs
        """Refuses a tls:// server that offers no TLS, before the credentials are sent."""
        if initial_connection and self.tls_demanded and not info.get("tls_required"):
            raise NatsError("the server offers no TLS")
        await super()._process_info(info, initial_connection)

    def abort(self) -> None:
        """Drops the connection at once; with a server that hangs `close` would wait for ever."""
        self._pending: list[bytes] = []
        self._pending_data_size = 0
        transport: Any = self._transport
        writer = getattr(transport, "_bare_io_writer", None)
        if writer is not None:
            writer.transport.abort()


class NatsLink:
    """An open connection that listens on one subject and may publish there."""

    def __init__(self, on_lost: Callable[[], None], on_slow: Callable[[], None]) -> None:
        self._client = _Client()
        self._on_lost = on_lost
        self._on_slow = on_slow
        self._subject = ""
        self._trouble: Exception | None = None

    @classmethod
    async def open(
        cls,
        server: NatsServer,
        subject: str,
        handler: Handler,
        *,
        hello: bytes,
        files: NatsFiles = _NO_FILES,
        on_lost: Callable[[], None] = _nothing,
        on_slow: Callable[[], None] = _nothing,
    ) -> Self:
        """Connects, subscribes, and publishes `hello`, so that a missing right is noticed at once.

        Messages of this connection do not come back to it. A server that refuses the credentials
        hangs up after its answer, which may be lost with what was still being sent: it is tried
        again. Raises NatsError, OSError, TimeoutError or ValueError (of `files`); none of their
        texts holds a credential.
        """
        for tries_left in range(_HANG_UPS, -1, -1):
            link = cls(on_lost, on_slow)
            try:
                async with asyncio.timeout(_OPEN_S):
                    await link._connect(server, subject, handler, hello, files)
            except BaseException as error:
                await link.close()
                if link._trouble is not None and isinstance(error, Exception):
                    raise link._trouble from error
                if not tries_left or not isinstance(error, (ConnectionResetError, BrokenPipeError)):
                    raise
            else:
                return link
        raise AssertionError("the last try raises")  # pragma: no cover

    async def _connect(
        self, server: NatsServer, subject: str, handler: Handler, hello: bytes, files: NatsFiles
    ) -> None:
        async def receive(message: Msg) -> None:
            await handler(message.data)

        self._subject = subject
        self._client.tls_demanded = server.tls
        key = files.key()
        if key is not None:
            self._client.sign_in_with(key)
        await self._client.connect(
            [server.url],
            user=server.user if server.password is not None else None,
            password=server.password,
            token=server.user if server.password is None else None,
            name="evpower",
            signature_cb=key.sign if key is not None else None,
            user_jwt_cb=key.jwt.encode if key is not None and key.jwt else None,
            tls=files.trust(tls=server.tls),
            no_echo=True,
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=_CONNECT_S,
            ping_interval=_NEVER_S,  # `check` does it
            pending_size=_PENDING_OUT_BYTES,
            flush_timeout=_ROUND_TRIP_S,
            error_cb=self._note,
            closed_cb=self._lost,
        )
        self._trouble = None
        await self._client.subscribe(  # pyright: ignore[reportUnknownMemberType]
            subject,
            cb=receive,
            pending_msgs_limit=_PENDING_IN,
            pending_bytes_limit=_PENDING_IN_BYTES,
        )
        await self.publish(hello)
        await self.settle()

    @property
    def is_open(self) -> bool:
        """False once the connection was lost or the server refused something."""
        return self._client.is_connected and self._trouble is None

    @property
    def max_payload_bytes(self) -> int:
        """The largest size of one message."""
        return self._client.max_payload

    async def publish(self, payload: bytes) -> None:
        """Hands a message to the connection; waits only while too much is not yet written."""
        await self._client.publish(self._subject, payload)
        self._raise_trouble()

    async def check(self) -> None:
        """Makes a round trip to the server; raises when it takes too long or a right is missing."""
        await self._client.flush(_ROUND_TRIP_S)
        self._raise_trouble()

    async def settle(self) -> None:
        """Returns once the server has read everything published, or raises as `check` does."""
        await self.check()  # the client writes a ping before what waits to be written:
        await self.check()  # only this one is after it

    async def close(self) -> None:
        """Closes it now; what was not yet written is lost."""
        self._on_lost = _nothing
        self._client.abort()
        with suppress(Exception):
            await asyncio.wait_for(self._client.close(), _CLOSE_S)

    def _raise_trouble(self) -> None:
        if self._trouble is not None:
            raise self._trouble

    async def _note(self, error: Exception) -> None:
        if type(error).__name__ == "SlowConsumerError":
            self._on_slow()
            return
        self._trouble = error
        self._on_lost()

    async def _lost(self) -> None:
        self._on_lost()
