"""The bank's list of transactions: getHistoryCsv answers with the address of a file.

The command's fields stand in no public source; the file's columns are a setting.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Final, cast
from urllib.parse import urlsplit

from evpower.foundation.http import HttpClient, HttpError
from evpower.payments.errors import ProviderRefused, ProviderUnavailable
from evpower.payments.providers.odengi.answers import ZONE, BankError
from evpower.payments.providers.odengi.client import OdengiClient
from evpower.payments.providers.odengi.notice import our_order
from evpower.payments.providers.protocol import HistoryItem
from evpower.payments.providers.report import MAX_BYTES, ReportColumns, ReportError, read_report

_COMMAND_S: Final = 30.0
_FILE_S: Final = 60.0
_SHOWN: Final = 200
_LINK: Final = re.compile(r"https?://[\x21-\x7e]+")


async def fetch_history(
    client: OdengiClient,
    http: HttpClient,
    *,
    hosts: Collection[str],
    columns: ReportColumns,
    since: datetime,
    until: datetime,
) -> list[HistoryItem]:
    """Returns the transactions from `since` to before `until`, and those without a time.

    Asks for whole days of the bank. Raises ProviderRefused when the bank refuses the command,
    ProviderUnavailable for all else.
    """
    last = max(since, until - timedelta(microseconds=1))
    data = {
        "date_from": f"{since.astimezone(ZONE):%Y-%m-%d}",
        "date_to": f"{last.astimezone(ZONE):%Y-%m-%d}",
    }
    try:
        answer = await client.call("getHistoryCsv", data, timeout_s=_COMMAND_S)
    except BankError as error:
        raise ProviderRefused(str(error)) from error
    raw = await _fetch_file(http, _link(answer, hosts))
    try:
        items = read_report(raw, columns)
    except ReportError as error:
        raise ProviderUnavailable(str(error)) from error
    return [_ours(item) for item in items if item.at is None or since <= item.at < until]


def _ours(item: HistoryItem) -> HistoryItem:
    """Returns the item with our order id: further bills of an order have a number behind it."""
    return item if item.order_id is None else replace(item, order_id=our_order(item.order_id))


def _link(answer: Mapping[str, Any], hosts: Collection[str]) -> str:
    """Returns the file's address, of any member. Raises ProviderUnavailable for another host."""
    texts = [value for value in answer.values() if isinstance(value, str)]
    for value in answer.values():
        if isinstance(value, dict):
            members = cast("dict[str, object]", value)
            texts += [member for member in members.values() if isinstance(member, str)]
    links = [text for text in texts if _LINK.fullmatch(text)]
    if not links:
        raise ProviderUnavailable("the answer names no report")
    for link in links:
        if _host(link) in hosts:
            return link
    raise ProviderUnavailable(
        f"the report is at {_host(links[0])!a}, which EVPOWER_ODENGI_REPORT_HOSTS lacks"
    )


def _host(link: str) -> str:
    """Returns host and port; "" for an address that has none, or that has a user in it."""
    try:
        host = urlsplit(link).netloc.lower()
    except ValueError:
        return ""
    return "" if "@" in host else host[:_SHOWN]


async def _fetch_file(http: HttpClient, link: str) -> bytes:
    try:
        response = await http.fetch(
            "payment_provider", "GET", link, timeout_s=_FILE_S, max_bytes=MAX_BYTES
        )
    except HttpError as error:
        raise ProviderUnavailable(f"no report: {error}") from error
    if response.status_code != HTTPStatus.OK:
        raise ProviderUnavailable(f"the report's host answered {response.status_code}")
    return response.content
