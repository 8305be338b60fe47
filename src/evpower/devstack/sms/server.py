"""A stand-in of smspro.nikita.kg on a socket: takes messages, shows them, fails on demand.

For development only: whoever reads the inbox signs in as anyone. `GET /inbox` lists the messages;
`POST /control` sets what the next calls answer: `{"status": 4}`, `{"http": 500}`, `{"lost": true}`
(the message is taken, the connection closes without an answer), `{"slow_s": 3}`, each with `times`.
"""

import argparse
import asyncio
import os
import re
from dataclasses import asdict, dataclass, field
from html import unescape
from http import HTTPStatus
from typing import Final

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from evpower.foundation.json_reader import NotJson, read_object

_MEMBERS: Final = ("login", "pwd", "id", "sender", "text", "phone")
_ACCEPTED: Final = 0
_FORM: Final = 1
_LOGIN: Final = 2
_SENDER: Final = 5
_PHONE: Final = 7
_REPEATED: Final = 10
_ID: Final = re.compile(r"[A-Za-z0-9]{1,12}")
_DIGITS: Final = re.compile(r"[1-9][0-9]{6,14}")
_MOST_MESSAGES: Final = 10_000
_NAMESPACE: Final = "http://Giper.mobi/schema/Message"


@dataclass(frozen=True, slots=True)
class ReceivedSms:
    """A message that the carrier would have sent."""

    id: str
    phone: str  # digits, without "+"
    sender: str
    text: str


@dataclass(slots=True)
class CallFault:
    """What the next `times` calls meet."""

    times: int = 0
    status: int | None = None
    http: int | None = None
    lost: bool = False
    slow_s: float = 0.0


@dataclass(slots=True)
class SmsCarrier:
    """The carrier and its ASGI app; an empty login accepts any."""

    login: str = ""
    password: str = ""
    sender: str = ""
    messages: list[ReceivedSms] = field(default_factory=list[ReceivedSms])
    fault: CallFault = field(default_factory=CallFault)
    calls: int = 0

    @property
    def app(self) -> Starlette:
        """The application."""
        return Starlette(
            routes=[
                Route("/api/message", self._message, methods=["POST"]),
                Route("/inbox", self._inbox),
                Route("/control", self._control, methods=["POST"]),
                Route("/healthz", _healthy),
            ]
        )

    async def _message(self, request: Request) -> Response:
        self.calls += 1
        document = (await request.body()).decode(errors="replace")
        fault = self._next_fault()
        await asyncio.sleep(fault.slow_s)
        if fault.http is not None:
            return Response(status_code=fault.http)
        members = {name: _member(document, name) for name in _MEMBERS}
        status = self._status(members) if fault.status is None else fault.status
        if status == _ACCEPTED and len(self.messages) < _MOST_MESSAGES:
            self.messages.append(
                ReceivedSms(members["id"], members["phone"], members["sender"], members["text"])
            )
        if fault.lost:
            return _Lost()
        return Response(
            f'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
            f'<response xmlns="{_NAMESPACE}"><id>{members["id"]}</id><status>{status}</status>'
            "<phones>1</phones><smscnt>1</smscnt></response>",
            media_type="application/xml",
        )

    def _status(self, members: dict[str, str]) -> int:
        if not members["text"] or not _ID.fullmatch(members["id"]):
            return _FORM
        if self.login and (members["login"], members["pwd"]) != (self.login, self.password):
            return _LOGIN
        if self.sender and members["sender"] != self.sender:
            return _SENDER
        if not _DIGITS.fullmatch(members["phone"]):
            return _PHONE
        if any(message.id == members["id"] for message in self.messages):
            return _REPEATED
        return _ACCEPTED

    def _next_fault(self) -> CallFault:
        if self.fault.times <= 0:
            return CallFault()
        self.fault.times -= 1
        return self.fault

    async def _inbox(self, _: Request) -> Response:
        listed = [asdict(message) for message in self.messages]
        return Response(orjson.dumps(listed), media_type="application/json")

    async def _control(self, request: Request) -> Response:
        try:
            wanted = read_object(await request.body())
            wanted.setdefault("times", 1)
            self.fault = CallFault(**wanted)
        except (NotJson, TypeError):
            return Response(status_code=HTTPStatus.UNPROCESSABLE_ENTITY)
        return Response(status_code=HTTPStatus.NO_CONTENT)


class _Lost(Response):
    """Ends the response before its declared length, so that the caller reads no whole one."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        headers = [(b"content-length", b"1000"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": HTTPStatus.OK, "headers": headers})
        raise ConnectionAbortedError("the answer is lost, as it was asked for")


def _member(document: str, name: str) -> str:
    match = re.search(rf"<{name}>(.*?)</{name}>", document, re.DOTALL)
    return unescape(match[1]).strip() if match else ""


async def _healthy(_: Request) -> Response:
    return Response(b'{"status":"ok"}', media_type="application/json")


def main() -> None:
    """Serves the carrier; EVPOWER_SMS_LOGIN, _PASSWORD and _NAME say whom it accepts."""
    import uvicorn

    env = os.environ
    parser = argparse.ArgumentParser(prog="python -m evpower.devstack.sms", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9333)
    arguments = parser.parse_args()
    carrier = SmsCarrier(
        env.get("EVPOWER_SMS_LOGIN", ""),
        env.get("EVPOWER_SMS_PASSWORD", ""),
        env.get("EVPOWER_SMS_NAME", ""),
    )
    uvicorn.run(carrier.app, host=arguments.host, port=arguments.port, log_level="critical")
