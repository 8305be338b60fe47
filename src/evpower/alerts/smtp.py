"""Hands mails to an SMTP server, in a bounded time: RFC 5321, with TLS by RFC 8314 or RFC 3207."""

import asyncio
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Final, Literal
from urllib.parse import unquote, urlsplit

TOTAL_S: Final = 30.0  # from the first packet until the server has accepted the mail
_STEP_S: Final = 15.0
_QUIT_S: Final = 2.0
_PORTS: Final = {"smtps": 465, "smtp": 587, "smtp+plain": 25}
Security = Literal["smtps", "smtp", "smtp+plain"]


class MailRefused(Exception):
    """The server did not accept a mail, or could not be reached."""


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """Where mails go. `smtps`: TLS from the first byte, `smtp`: STARTTLS or nothing is sent."""

    security: Security
    host: str
    port: int
    user: str
    password: str = field(repr=False)


def read_smtp_url(url: str) -> SmtpServer:
    """Returns the server of smtps://user:password@host:465. Raises ValueError, which quotes none.

    `smtp+plain` sends in clear, for a relay on this machine or network: a password would be read.
    """
    usage = "must read smtp://user:password@host:587, smtps://... or smtp+plain://host"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(usage) from None
    host, scheme = parts.hostname, parts.scheme
    if scheme not in _PORTS or not host or parts.path not in {"", "/"} or parts.query:
        raise ValueError(usage)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if scheme == "smtp+plain" and user:
        raise ValueError("has a password and no TLS: use smtp or smtps")
    security: Security = scheme  # type: ignore[assignment]
    return SmtpServer(security, host, port or _PORTS[scheme], user, password)


def tls_context(authority: str) -> ssl.SSLContext:
    """Returns what checks the server's certificate. Raises ValueError.

    `authority`: the path of a PEM file, the only authority trusted then.
    """
    if not authority:
        return ssl.create_default_context()
    try:
        text = Path(authority).read_text()
        return ssl.create_default_context(cadata=text if text.strip() else "-")
    except (OSError, ValueError) as error:
        raise ValueError(f"{authority} holds no certificate in PEM form") from error


async def hand_over(
    server: SmtpServer, tls: ssl.SSLContext, mail: EmailMessage, *, total_s: float = TOTAL_S
) -> list[str]:
    """Returns once the server has accepted the mail: the recipients that it refused.

    Raises MailRefused where it accepted none, or the time is over.
    """
    import aiosmtplib  # only a process that sends mails needs it

    client = aiosmtplib.SMTP(
        hostname=server.host,
        port=server.port,
        username=server.user or None,
        password=server.password or None,
        local_hostname=str(mail["From"]).rpartition("@")[2].rstrip(">") or "localhost",
        timeout=min(_STEP_S, total_s),
        use_tls=server.security == "smtps",
        start_tls=server.security == "smtp",
        tls_context=tls,
    )
    try:
        async with asyncio.timeout(total_s):
            await client.connect()
            refused, _ = await client.send_message(mail)
    except (aiosmtplib.SMTPException, OSError, ValueError, TimeoutError) as error:
        raise MailRefused(_why(error, total_s)) from error
    else:
        with suppress(aiosmtplib.SMTPException, OSError, TimeoutError):  # it has the mail
            async with asyncio.timeout(_QUIT_S):
                await client.quit()
        return sorted(refused)
    finally:
        client.close()


def _why(error: Exception, total_s: float) -> str:
    import aiosmtplib  # as above

    if isinstance(error, TimeoutError) and not isinstance(error, aiosmtplib.SMTPException):
        return f"no answer in {total_s:g} s"
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        answers = ", ".join(
            f"{refusal.recipient}: {refusal.code} {refusal.message}" for refusal in error.recipients
        )
        return f"every recipient was refused: {answers}"
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return f"{error.code} {error.message}"
    return f"{type(error).__name__}: {error}"
