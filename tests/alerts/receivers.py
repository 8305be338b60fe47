"""A webhook receiver and an SMTP server on sockets, which may refuse, fall over and hang."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import orjson
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from pydantic import SecretStr

from evpower.alerts import configured_channels
from evpower.alerts.channels import Channel
from evpower.alerts.delivery import MessageDelivery
from evpower.alerts.model import ChannelName
from evpower.alerts.quiet_hours import QuietHours
from evpower.config import Settings
from evpower.foundation.db import Database
from evpower.foundation.http import HttpClient
from tests.alerts.clock import TurnedClock

SECRET = "whsec_" + "c2VjcmV0" * 6


@dataclass
class Call:
    """One POST as it came."""

    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


@dataclass
class Receiver:
    """Answers each POST with the next of `answers`, and 200 when none is left.

    0 hangs up without an answer; -1 waits for the gate.
    """

    answers: list[int] = field(default_factory=list)
    retry_after: str = ""
    calls: list[Call] = field(default_factory=list)
    url: str = ""
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with (
            contextlib.closing(writer),
            contextlib.suppress(OSError, asyncio.IncompleteReadError),
        ):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                pairs = (line.split(": ", 1) for line in head[1:] if line)
                headers = {name.lower(): value for name, value in pairs}
                body = await reader.readexactly(int(headers["content-length"]))
                self.calls.append(Call(headers, body))
                status = self.answers.pop(0) if self.answers else 200
                if status == -1:
                    await self.gate.wait()
                    status = 200
                if status <= 0:
                    break
                more = f"Retry-After: {self.retry_after}\r\n" if self.retry_after else ""
                head_of_answer = f"HTTP/1.1 {status} X\r\n{more}Content-Length: 0\r\n\r\n"
                writer.write(head_of_answer.encode())
                await writer.drain()

    @property
    def types(self) -> list[str]:
        return [call.json["type"] for call in self.calls]


@contextlib.asynccontextmanager
async def running_receiver() -> AsyncGenerator[Receiver]:
    receiver = Receiver()
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(receiver.serve(reader, writer))
        tasks.add(task)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/alerts"
    try:
        yield receiver
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass
class Mailbox:
    """An SMTP server's mailbox; it answers each mail with the next of `answers`, then 250."""

    answers: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    mails: list[EmailMessage] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    port: int = 0

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: Any
    ) -> str:
        if address in self.refused:
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        answer = self.answers.pop(0) if self.answers else "250 OK"
        if answer.startswith("250"):
            assert isinstance(envelope.content, bytes)
            mail = message_from_bytes(envelope.content, policy=policy.default)
            assert isinstance(mail, EmailMessage)
            self.mails.append(mail)
        return answer

    def authenticate(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login.decode(), data.password.decode()))
        return AuthResult(success=data.password == b"p@ss word", handled=False)

    def texts(self) -> list[str]:
        return [mail.get_content() for mail in self.mails]


@contextlib.asynccontextmanager
async def running_mailbox(
    *, tls: ssl.SSLContext | None = None, starttls: ssl.SSLContext | None = None
) -> AsyncGenerator[Mailbox]:
    """`tls`: from the first byte; `starttls`: demanded, and a password with it; else in clear."""
    mailbox = Mailbox()
    how: dict[str, Any] = {}
    if starttls is not None:
        how = {
            "tls_context": starttls, "require_starttls": True, "auth_required": True,
            "authenticator": mailbox.authenticate,
        }  # fmt: skip
    make: Callable[[], SMTP] = lambda: SMTP(mailbox, hostname="mail.example", **how)  # noqa: E731
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0, ssl=tls)
    mailbox.port = server.sockets[0].getsockname()[1]
    try:
        yield mailbox
    finally:
        server.close()


def alert_settings(**values: Any) -> Settings:
    return Settings(
        _env_file=None,  # pyright: ignore[reportCallIssue]
        env="development",
        **values,
    )


def webhook_settings(receiver: Receiver, **more: Any) -> dict[str, Any]:
    return {
        "alert_webhook_url": SecretStr(receiver.url),
        "alert_webhook_secret": SecretStr(SECRET),
        **more,
    }


def mail_settings(mailbox: Mailbox, scheme: str = "smtp+plain", **more: Any) -> dict[str, Any]:
    user = "" if scheme == "smtp+plain" else "evpower:p%40ss%20word@"
    return {
        "alert_smtp_url": SecretStr(f"{scheme}://{user}127.0.0.1:{mailbox.port}"),
        "alert_email_from": "EvPower <alerts@example.kg>",
        "alert_email_to": "aida@example.kg, bek@example.kg",
        **more,
    }


@dataclass
class Sender:
    """Delivers what waits in a database by the channels of some settings, by a turned clock."""

    db: Database
    clock: TurnedClock
    channels: dict[ChannelName, Channel]
    quiet_hours: QuietHours | None = None

    async def send(self) -> int:
        delivery = MessageDelivery(
            self.db, self.channels, self.quiet_hours, self.clock, jitter=lambda: 0.5
        )
        return await delivery.send_due()


@contextlib.asynccontextmanager
async def running_sender(
    db: Database, clock: TurnedClock, **settings: Any
) -> AsyncGenerator[Sender]:
    async with HttpClient() as http:
        configured = configured_channels(alert_settings(**settings), http, clock)
        yield Sender(db, clock, dict(configured))
