"""Sends SMS through smspro.nikita.kg, a carrier of all Kyrgyz networks.

One POST of an XML document with login, password, id, sender, text and phones (without "+"); the
response has the same id and a status: 0 taken, 9 busy (ask again with the same id), others refuse.
A repeated id is not sent twice. Facts and sources: docs/phone-sign-in.md.
"""

import asyncio
import re
from collections.abc import Mapping
from time import perf_counter
from typing import Final
from xml.sax.saxutils import escape

from pydantic import SecretStr

from evpower.foundation.http import HttpClient, HttpError, HttpResponse, RequestNotSent
from evpower.identity.sign_in.senders.protocol import NotSent, SentPerhaps, Sms

TOTAL_S: Final = 10.0
_BUSY_PAUSE_S: Final = 3.0
_MAX_BYTES: Final = 16 * 1024
_ACCEPTED: Final = 0
_BUSY: Final = 9
_REPEATED: Final = 10  # a message with this id was taken a moment ago
_NO_MESSAGE: Final = 11
_OURS: Final[Mapping[int, str]] = {
    1: "the request's form is refused",
    2: "login or password is wrong",
    3: "calls from this address are not allowed",
    4: "the account has no money",
    5: "the sender's name is not agreed",
    6: "the text has words that are blocked",
    8: "the time is refused",
    _NO_MESSAGE: "test mode: nothing is sent",
}
_STATUS: Final = re.compile(rb"<(?:\w+:)?status>\s*([0-9]{1,3})\s*</(?:\w+:)?status>")
_ID: Final = re.compile(r"[A-Za-z0-9]{1,12}")


class NikitaSender:
    """Sends one message per call. `pause_s`: before a message is sent again to a busy carrier."""

    name = "nikita"

    def __init__(
        self,
        http: HttpClient,
        *,
        url: str,
        login: str,
        password: SecretStr,
        sender: str,
        pause_s: float = _BUSY_PAUSE_S,
        total_s: float = TOTAL_S,
    ) -> None:
        self._http = http
        self._url = url
        self._login = login
        self._password = password
        self._sender = sender
        self._pause_s = pause_s
        self._total_s = total_s

    async def send(self, message: Sms) -> None:
        """Returns once the carrier has taken the message; a lost answer is asked for once more.

        Raises NotSent, SentPerhaps.
        """
        until = perf_counter() + self._total_s
        lost = False
        for is_last in (False, True):
            try:
                status = await self._try(message, max(0.0, until - perf_counter()))
            except RequestNotSent as error:
                if lost:
                    raise SentPerhaps from error
                raise NotSent("the carrier can't be reached") from error
            except HttpError:
                status = None
            lost = lost or status is None
            if status == _ACCEPTED or (status == _REPEATED and lost):
                return
            if status not in (_BUSY, None):
                raise _refused(status)
            if not is_last:
                await asyncio.sleep(min(self._pause_s, max(0.0, until - perf_counter())))
        if lost:
            raise SentPerhaps
        raise NotSent("the carrier is busy")

    async def _try(self, message: Sms, timeout_s: float) -> int | None:
        response = await self._http.fetch(
            "sms",
            "POST",
            self._url,
            headers={"Content-Type": "application/xml; charset=UTF-8"},
            content=self._document(message),
            timeout_s=timeout_s,
            max_bytes=_MAX_BYTES,
        )
        return _status(response)

    def _document(self, message: Sms) -> bytes:
        assert _ID.fullmatch(message.id)  # noqa: S101 - send.py makes the id
        members = {
            "login": self._login,
            "pwd": self._password.get_secret_value(),
            "id": message.id,
            "sender": self._sender,
            "text": message.text,
        }
        fields = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in members.items())
        phones = f"<phones><phone>{message.phone.removeprefix('+')}</phone></phones>"
        text = f'<?xml version="1.0" encoding="UTF-8"?><message>{fields}{phones}</message>'
        return text.encode()


def _refused(status: int | None) -> NotSent:
    reason = _OURS.get(status or 0)
    if reason is not None:
        return NotSent(f"the carrier answers {status}: {reason}", is_ours=True)
    return NotSent(f"the carrier answers {status}")


def _status(response: HttpResponse) -> int | None:
    """Returns the status; None: it is unknown whether it was taken. Raises NotSent."""
    match = _STATUS.search(response.content)
    if match is not None and response.is_success:
        return int(match[1])
    if response.is_client_error:
        raise NotSent(f"the carrier answers HTTP {response.status_code}", is_ours=True)
    return None
