"""The bank's notices: sent once each, as nothing is known of repetitions. It reads no answer."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import urlencode

import structlog

from evpower.devstack.bank.odengi.wire import sign_notice
from evpower.foundation.http import HttpClient, HttpError

log = structlog.get_logger()
_TIMEOUT_S: Final = 10.0
_FORM: Final = "application/x-www-form-urlencoded"

NoticeForm = Literal["json", "form", "get", "old_header"]


@dataclass(frozen=True, slots=True)
class BankNotice:
    """A notice to send: its members with the hash, and how it travels."""

    url: str
    members: dict[str, Any]
    form: NoticeForm = "json"
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class SentNotice:
    """What became of a notice; `status` None: no answer."""

    members: dict[str, Any]
    form: NoticeForm
    status: int | None


def signed_members(password: bytes, members: dict[str, Any]) -> dict[str, Any]:
    """Returns the members with their hash."""
    return {**members, "hash": sign_notice(password, members)}


class NoticeSender:
    """Sends notices in the background, and remembers what was answered."""

    def __init__(self) -> None:
        self.sent: list[SentNotice] = []
        self._http = HttpClient()
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, notice: BankNotice) -> None:
        """Sends a notice after its delay."""
        task = asyncio.get_running_loop().create_task(self._later(notice))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Ends what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._http.aclose()

    async def _later(self, notice: BankNotice) -> None:
        await asyncio.sleep(notice.delay_s)
        status = await send_notice(self._http, notice)
        self.sent.append(SentNotice(notice.members, notice.form, status))


async def send_notice(http: HttpClient, notice: BankNotice) -> int | None:
    """Returns the status of the answer; None where there is none."""
    method, url, headers, content = _request(notice)
    try:
        answer = await http.fetch(
            "devstack", method, url, headers=headers, content=content, timeout_s=_TIMEOUT_S
        )
    except HttpError as error:
        log.info("odengi_notice_failed", reason=type(error).__name__)
        return None
    return answer.status_code


def _request(notice: BankNotice) -> tuple[str, str, dict[str, str], bytes | None]:
    texts = {name: "" if value is None else str(value) for name, value in notice.members.items()}
    if notice.form == "get":
        return "GET", f"{notice.url}?{urlencode(texts)}", {}, None
    if notice.form == "form":
        return "POST", notice.url, {"Content-Type": _FORM}, urlencode(texts).encode()
    members, headers = dict(notice.members), {"Content-Type": "application/json"}
    if notice.form == "old_header":
        members.pop("hash", None)
        headers["X-O-Dengi-Signature"] = "sha256=" + "0" * 64
    return "POST", notice.url, headers, json.dumps(members, ensure_ascii=False).encode()
