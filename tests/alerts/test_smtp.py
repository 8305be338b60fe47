"""Mails to SMTP servers: TLS or nothing, a password to no stranger, a total time."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator
from email.message import EmailMessage
from pathlib import Path

import pytest

from evpower.alerts.smtp import MailRefused, SmtpServer, hand_over, read_smtp_url, tls_context
from tests.alerts.receivers import Mailbox, running_mailbox
from tests.foundation.certificates import Authority
from tests.waiting import WAIT_LIMIT_S

PASSWORD = "p@ss word"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def mail() -> EmailMessage:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "a@example.kg", "b@example.kg", "Проверка"
    mail.set_content("текст")
    return mail


def server(mailbox: Mailbox, security: str, host: str = "127.0.0.1") -> SmtpServer:
    user = "" if security == "smtp+plain" else "evpower"
    return SmtpServer(security, host, mailbox.port, user, PASSWORD if user else "")  # type: ignore[arg-type]


async def test_a_password_goes_over_starttls(authority: Authority) -> None:
    async with running_mailbox(starttls=authority.server_context()) as mailbox:
        await hand_over(server(mailbox, "smtp"), tls_context(str(authority.file)), mail())
    assert mailbox.logins == [("evpower", PASSWORD)]
    [received] = mailbox.mails
    assert (received["Subject"], received.get_content().strip()) == ("Проверка", "текст")


async def test_tls_from_the_first_byte(authority: Authority) -> None:
    async with running_mailbox(tls=authority.server_context()) as mailbox:
        where = SmtpServer("smtps", "127.0.0.1", mailbox.port, "", "")
        await hand_over(where, tls_context(str(authority.file)), mail())
    assert len(mailbox.mails) == 1


@pytest.mark.parametrize("security", ["smtp", "smtps"])
async def test_a_server_without_tls_gets_nothing(mailbox: Mailbox, security: str) -> None:
    with pytest.raises(MailRefused):
        await hand_over(server(mailbox, security), ssl.create_default_context(), mail(), total_s=5)
    assert (mailbox.mails, mailbox.logins) == ([], [])


async def test_a_certificate_of_a_stranger_is_refused(authority: Authority) -> None:
    async with running_mailbox(starttls=authority.server_context()) as mailbox:
        with pytest.raises(MailRefused, match="certificate"):
            await hand_over(server(mailbox, "smtp"), ssl.create_default_context(), mail())
    assert (mailbox.mails, mailbox.logins) == ([], [])


async def test_a_wrong_password_is_said_and_not_shown(authority: Authority) -> None:
    async with running_mailbox(starttls=authority.server_context()) as mailbox:
        where = SmtpServer("smtp", "127.0.0.1", mailbox.port, "evpower", "another secret")
        with pytest.raises(MailRefused, match="535") as refusal:
            await hand_over(where, tls_context(str(authority.file)), mail())
    assert "another secret" not in str(refusal.value) + repr(where)


async def test_refused_recipients_are_named(mailbox: Mailbox) -> None:
    mailbox.refused = {"b@example.kg"}
    with pytest.raises(MailRefused, match=r"b@example\.kg: 550"):
        await hand_over(server(mailbox, "smtp+plain"), ssl.create_default_context(), mail())


@contextlib.asynccontextmanager
async def listener(script: list[bytes], *, slow_bytes: bytes = b"") -> AsyncGenerator[int]:
    """Says the lines of the script one after another, then sends slowly, or is silent."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            for line in script:
                writer.write(line)
                await reader.readline()
            while slow_bytes:
                writer.write(slow_bytes)
                await writer.drain()
                await asyncio.sleep(0.01)
            await asyncio.sleep(3600)

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(lambda _: writer.close())

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


HELLO = [b"220 mail.example\r\n", b"250 mail.example\r\n", b"250 OK\r\n"]


@pytest.mark.parametrize("answered", range(4))
@pytest.mark.parametrize(
    "slow_bytes", [b"", b"250-more\r\n", b"2"], ids=["silent", "lines", "bytes"]
)
async def test_a_server_that_never_ends_is_given_up(answered: int, slow_bytes: bytes) -> None:
    async with (
        listener(HELLO[:answered], slow_bytes=slow_bytes) as port,
        asyncio.timeout(WAIT_LIMIT_S),
    ):
        where = SmtpServer("smtp+plain", "127.0.0.1", port, "", "")
        with pytest.raises(MailRefused):
            await hand_over(where, ssl.create_default_context(), mail(), total_s=0.4)


ACCEPTS = [
    *HELLO, b"250 OK\r\n", b"354 go on\r\n", b"250 accepted\r\n"
]  # fmt: skip


@contextlib.asynccontextmanager
async def hanging_up(after: int) -> AsyncGenerator[int]:
    """Accepts a mail, and hangs up when so many bytes of its answers are written."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = after
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            for line in ACCEPTS:
                writer.write(line[: max(left, 0)])
                left -= len(line)
                if left <= 0:
                    break
                await reader.readuntil(b"\r\n.\r\n" if line.startswith(b"354") else b"\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_a_server_that_hangs_up_at_any_byte_has_accepted_nothing() -> None:
    async def handed_over(after: int) -> list[str]:
        async with hanging_up(after) as port:
            where = SmtpServer("smtp+plain", "127.0.0.1", port, "", "")
            return await hand_over(
                where, ssl.create_default_context(), mail(), total_s=WAIT_LIMIT_S
            )

    whole = sum(map(len, ACCEPTS))
    for after in range(whole):
        with pytest.raises(MailRefused):
            await handed_over(after)
    assert await handed_over(whole) == []


async def test_an_answer_without_an_end_is_not_stored() -> None:
    async with listener([], slow_bytes=b"2" * 65_536) as port:
        where = SmtpServer("smtp+plain", "127.0.0.1", port, "", "")
        with pytest.raises(MailRefused, match=r"too long|Response"):
            await hand_over(where, ssl.create_default_context(), mail(), total_s=WAIT_LIMIT_S)


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("smtp://u:p%40w@mail.example", SmtpServer("smtp", "mail.example", 587, "u", "p@w")),
        ("smtps://u:p@mail.example/", SmtpServer("smtps", "mail.example", 465, "u", "p")),
        ("smtp+plain://10.0.0.1:2525", SmtpServer("smtp+plain", "10.0.0.1", 2525, "", "")),
    ],
    ids=["starttls", "tls", "plain"],
)
def test_addresses_are_read(url: str, read: SmtpServer) -> None:
    assert read_smtp_url(url) == read


@pytest.mark.parametrize(
    "url",
    ["mail.example:587", "http://mail.example", "smtp://", "smtp://u:secret@mail:port",
     "smtp+plain://u:secret@mail", "smtp://mail/path", "smtp://mail?x=1"],
)  # fmt: skip
def test_others_are_refused_without_their_secret(url: str) -> None:
    with pytest.raises(ValueError, match=r"must read|no TLS") as refusal:
        read_smtp_url(url)
    assert "secret" not in str(refusal.value)
