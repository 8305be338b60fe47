"""Watches the certificates with which stations and apps are served: they end without a warning."""

import asyncio
import ssl
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from evpower.alerts.kinds import AlertKind
from evpower.alerts.open_close import list_alerts, set_alerts
from evpower.foundation.clock import Clock, to_z
from evpower.foundation.db import Database
from evpower.foundation.loops import Loop, Round, every

PERIOD_S: Final = 3600.0
TOTAL_S: Final = 10.0
EXPIRING_IN: Final = timedelta(days=21)
ENDING_IN: Final = timedelta(days=3)
_CLOSE_S: Final = 1.0
_PORT: Final = 443
_KINDS: Final[tuple[tuple[AlertKind, timedelta], ...]] = (
    ("certificate_expiring", EXPIRING_IN),
    ("certificate_ending", ENDING_IN),
)
_log: Final = structlog.get_logger()
TlsHost = tuple[str, int]


def read_tls_hosts(text: str) -> list[TlsHost]:
    """Returns the hosts of "ocpp.example.kg,api.example.kg:8443". Raises ValueError."""
    hosts: list[TlsHost] = []
    for part in filter(None, map(str.strip, text.split(","))):
        host, _, port = part.rpartition(":") if part.count(":") == 1 else (part, "", "")
        if not host or (port and not (port.isdecimal() and 0 < int(port) < 65_536)):  # noqa: PLR2004
            raise ValueError(f"{part!a:.80} is no host or host:port")
        hosts.append((host, int(port or _PORT)))
    return hosts


def certificates_loop(db: Database, clock: Clock, hosts: Sequence[TlsHost]) -> Loop:
    """Returns the loop that reads them once an hour."""

    async def work(_: Round) -> None:
        await watch_certificates(db, hosts, clock)

    return every(PERIOD_S, "certificates", work)


async def watch_certificates(
    db: Database, hosts: Sequence[TlsHost], clock: Clock, *, total_s: float = TOTAL_S
) -> None:
    """Opens and closes the alerts; where a host does not answer, its alerts stay as they are."""
    ends = await asyncio.gather(*(_end_of(host, total_s) for host in hosts))
    now = clock()
    async with db.transaction() as connection:
        for kind, left in _KINDS:
            causes: dict[str, Any] = {
                _name(host): {"ends_at": to_z(end)}
                for host, end in zip(hosts, ends, strict=True)
                if end is not None and end - now < left
            }
            unread = {_name(host) for host, end in zip(hosts, ends, strict=True) if end is None}
            for alert in await list_alerts(connection, kinds=[kind]):
                if alert.subject in unread:
                    causes[alert.subject] = alert.detail
            await set_alerts(connection, kind, causes, now)


async def _end_of(host: TlsHost, total_s: float) -> datetime | None:
    try:
        return await read_end(host, total_s=total_s)
    except (OSError, ValueError, TimeoutError) as error:
        _log.warning(
            "certificate_unread", host=_name(host), error=f"{type(error).__name__}: {error}"
        )
        return None


async def read_end(host: TlsHost, *, total_s: float = TOTAL_S) -> datetime:
    """Returns when the certificate that a host serves with ends; it may have ended.

    Raises OSError, ValueError or TimeoutError.
    """
    from cryptography import x509  # only where certificates are watched

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # nothing is sent: a wrong or ended one is read, too
    context.verify_mode = ssl.CERT_NONE
    async with asyncio.timeout(total_s):
        _, writer = await asyncio.open_connection(
            host[0], host[1], ssl=context, server_hostname=host[0]
        )
    try:
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.close()
        with suppress(OSError, TimeoutError):
            await asyncio.wait_for(writer.wait_closed(), _CLOSE_S)
    if not der:
        raise ValueError("no certificate")
    return x509.load_der_x509_certificate(der).not_valid_after_utc


def _name(host: TlsHost) -> str:
    return f"{host[0]}:{host[1]}"
