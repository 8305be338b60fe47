"""The simulated bank's server: json.php, a page to pay on, the control calls.

Control calls, all JSON over POST, for tests and for hands:
  /control                        how the bank behaves from now on (behaviour.py)
  /pay/<invoice>/scan             a payer begins to pay: an attempt in processing
  /pay/<invoice>/approve          pays: {"amount", "trans_id", "test"}; also a canceled bill
  /pay/<invoice>/cancel           a payer gives up: an attempt that is canceled
  /pay/<invoice>/refund           the merchant's cabinet: {"trans_id", "amount"}
  /pay/<invoice>/notice           sends a notice: {"form", "sign", "repeat", "delay_s", members}
Each of the first four also sends the bank's own notice. Amounts are tyiyn.
"""

import asyncio
import io
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, cast

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route

from evpower.devstack.bank import page
from evpower.devstack.bank.odengi.behaviour import BadControl, CommandFault
from evpower.devstack.bank.odengi.commands import (
    BAD_HASH,
    BAD_REQUEST,
    Commands,
    Refused,
)
from evpower.devstack.bank.odengi.notices import BankNotice, NoticeSender, signed_members
from evpower.devstack.bank.odengi.state import (
    APPROVED,
    CANCELED,
    PROCESSING,
    OdengiState,
    SimulatedAttempt,
    SimulatedBill,
    new_trans_id,
)
from evpower.devstack.bank.odengi.wire import request_hash_is_right, sign_answer, write_json
from evpower.devstack.bank.requests import BadRequest, read_body, refuse, respond
from evpower.devstack.bank.state import BankInvoice
from evpower.devstack.ports import LOOPBACK
from evpower.foundation.json_reader import NotJson, read_object

PATH: Final = "/api/json/json.php"
_VERSION: Final = 1005
_MOST_NOTICES: Final = 100
_SIGNS: Final = ("right", "wrong", "none")
_FORMS: Final = ("json", "form", "get", "old_header")


class OdengiBank:
    """The simulated bank and its ASGI app."""

    def __init__(
        self, sid: str, password: str, folder: Path | None = None, *, public_url: str = ""
    ) -> None:
        if not sid or not password:
            raise ValueError("the simulated bank needs the merchant's sid and password")
        self._sid = sid
        self._password = password.encode()
        self._state = OdengiState(folder)
        self._base_url = public_url.rstrip("/")
        self._commands = Commands(self._state, lambda: self._base_url)
        self._notices: NoticeSender | None = None
        self.app = Starlette(
            routes=[
                Route(PATH, self._call, methods=["POST"]),
                Route("/control", self._control, methods=["POST"]),
                Route("/pay/{invoice}", self._page),
                Route("/pay/{invoice}/{action}", self._act, methods=["POST"]),
                Route("/qr/{invoice}.png", self._picture),
                Route("/report/{token}.csv", self._report),
                Route("/notices", self._sent),
                Route("/health", _healthy),
            ],
            exception_handlers={BadRequest: refuse},
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncGenerator[None]:
        self._notices = NoticeSender()
        yield
        await self._notices.stop()
        self._state.close()

    async def _call(self, request: Request) -> Response:
        self._learn_address(request)
        raw = await request.body()
        try:
            body = read_object(raw)
        except NotJson:
            return self._answer("", {"error": BAD_REQUEST, "desc": "JSON"})
        command, data = str(body.get("cmd")), body.get("data")
        fault = self._commands.behaviour.fault(command)
        if fault is None:
            return self._carry_out(command, data, raw, body)
        if fault.mode == "refused":
            return self._answer(command, {"error": fault.code, "desc": "Отказ"})
        instead = _instead(fault)
        return instead or await _spoil(fault, self._carry_out(command, data, raw, body))

    def _carry_out(self, command: str, data: object, raw: bytes, body: dict[str, Any]) -> Response:
        if body.get("sid") != self._sid or body.get("version") != _VERSION:
            return self._answer(command, {"error": BAD_REQUEST, "desc": "sid, version"})
        if not isinstance(body.get("mktime"), str) or not isinstance(data, dict):
            return self._answer(command, {"error": BAD_REQUEST, "desc": "mktime, data"})
        if not request_hash_is_right(self._password, raw, body):
            return self._answer(command, {"error": BAD_HASH, "desc": "Неверный hash"})
        try:
            result = self._commands.run(command, cast("dict[str, Any]", data))
        except Refused as refused:
            result = {"error": refused.code, "desc": str(refused)}
        return self._answer(command, result)

    def _answer(self, command: str, data: dict[str, Any]) -> Response:
        answer = {
            "version": _VERSION,
            "mktime": str(round(self._commands.now_s() * 1000)),
            "sid": self._sid,
            "cmd": command,
            "data": data,
        }
        how = self._commands.behaviour.answer_hash
        password = b"another" if how == "wrong" else self._password
        content = write_json(answer) if how == "missing" else sign_answer(password, answer)
        return Response(
            content,
            media_type="application/json",
            headers={"Set-Cookie": "PHPSESSID=1; path=/"},
        )

    async def _control(self, request: Request) -> Response:
        body = await read_body(request)
        try:
            self._commands.behaviour = self._commands.behaviour.changed(body)
        except BadControl as error:
            raise BadRequest(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error
        return respond({"success": True})

    async def _act(self, request: Request) -> Response:
        self._learn_address(request)
        bill = self._bill(request)
        by_hand = request.headers.get("content-type", "").startswith("application/x-www-form")
        body = {} if by_hand else await read_body(request)
        action = request.path_params["action"]
        if action == "notice":
            self._send_notice(bill, body)
            return respond({"success": True})
        is_return = action == "refund"
        attempt = self._return(body) if is_return else self._attempt(bill, action, body)
        how = self._commands.behaviour
        if how.notices == "sent":
            for _ in range(min(how.notice_repeat, _MOST_NOTICES)):
                self._notify(bill, attempt)
        if by_hand:
            language = request.query_params.get("lang", "ru")[:2]
            return RedirectResponse(f"../{bill.id}?lang={language}", HTTPStatus.SEE_OTHER)
        return respond({"success": True, "trans_id": attempt.id, "state": attempt.state})

    def _attempt(self, bill: SimulatedBill, action: str, body: dict[str, Any]) -> SimulatedAttempt:
        """Begins an attempt, or ends the one named by `trans_id`. Money may come late."""
        states = {"scan": PROCESSING, "approve": APPROVED, "cancel": CANCELED}
        if action not in states:
            raise BadRequest(HTTPStatus.NOT_FOUND, "unknown_action")
        given = body.get("amount", bill.amount)
        if not isinstance(given, int) or isinstance(given, bool) or given < 0:
            raise BadRequest(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_amount")
        commission = self._commands.behaviour.commission
        trans_id = body.get("trans_id")
        attempt = self._state.attempt(str(trans_id)) if trans_id is not None else None
        if attempt is None:
            attempt = SimulatedAttempt(
                str(trans_id or new_trans_id()),
                bill.id,
                states[action],
                given + commission,
                given if commission else None,
                1 if body.get("test", bill.test) else 0,
                self._commands.now_s(),
            )
        attempt.state = states[action]
        self._state.save_attempt(attempt)
        return attempt

    def _return(self, body: dict[str, Any]) -> SimulatedAttempt:
        attempt = self._state.attempt(str(body.get("trans_id")))
        if attempt is None:
            raise BadRequest(HTTPStatus.NOT_FOUND, "unknown_payment")
        data = {"trans_id": attempt.id, "amount": body.get("amount", attempt.paid)}
        command = "voidPayment" if data["amount"] == attempt.paid else "refundPaymentToEwallet"
        try:
            self._commands.run(command, data)
        except Refused as refused:
            raise BadRequest(HTTPStatus.CONFLICT, str(refused)) from refused
        return self._state.attempt(attempt.id) or attempt

    def _notify(self, bill: SimulatedBill, attempt: SimulatedAttempt) -> None:
        if bill.result_url and self._notices is not None:
            members = signed_members(self._password, self._members(bill, attempt))
            self._notices.send(BankNotice(bill.result_url, members))

    def _members(self, bill: SimulatedBill, attempt: SimulatedAttempt | None) -> dict[str, Any]:
        return {
            "trans_id": attempt.id if attempt else new_trans_id(),
            "status_pay": attempt.state if attempt else APPROVED,
            "site_id": self._sid,
            "order_id": bill.order_id,
            "amount": attempt.amount if attempt else bill.amount,
            "currency": "KGS",
            "mktime": str(round(self._commands.now_s() * 1000)),
            "test": attempt.test if attempt else bill.test,
            "account_id": 1,
            "mobile": "996555000111",
            "fname": "Айгүл",
            "lname": "Асанова",
            "email": None,
            "fields_other": None,
        }

    def _send_notice(self, bill: SimulatedBill, body: dict[str, Any]) -> None:
        """Sends the notice of the last attempt, true or forged."""
        form, sign = body.pop("form", "json"), body.pop("sign", "right")
        repeat, delay_s = body.pop("repeat", 1), body.pop("delay_s", 0)
        url = body.pop("url", bill.result_url)
        if form not in _FORMS or sign not in _SIGNS or not isinstance(url, str) or not url:
            raise BadRequest(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_notice")
        if not isinstance(repeat, int) or not 0 < repeat <= _MOST_NOTICES:
            raise BadRequest(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_repeat")
        if not isinstance(delay_s, int | float):
            raise BadRequest(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_delay_s")
        attempts = self._state.attempts(bill.id)
        members = self._members(bill, attempts[-1] if attempts else None) | body
        if sign != "none":
            password = self._password if sign == "right" else b"another"
            members = signed_members(password, members)
        for _ in range(repeat):
            if self._notices is not None:
                self._notices.send(BankNotice(url, members, form, float(delay_s)))

    async def _sent(self, _: Request) -> Response:
        sent = self._notices.sent if self._notices else []
        return respond(
            [{"form": it.form, "status": it.status, "members": it.members} for it in sent]
        )

    async def _page(self, request: Request) -> Response:
        bill = self._bill(request)
        states = {attempt.state for attempt in self._state.attempts(bill.id)}
        over = "canceled" if bill.is_over(self._commands.now_s()) else "processing"
        status = "approved" if APPROVED in states else over
        shown = BankInvoice(
            bill.id, bill.order_id, bill.amount, "KGS", bill.description, status, 0, 0, 0, 0, 0
        )
        language = page.choose_language(
            request.query_params.get("lang"), request.headers.get("accept-language", "")
        )
        self._learn_address(request)
        link = f"{self._base_url}/pay/{bill.id}"
        return HTMLResponse(page.page(shown, status, link, language), headers=page.HEADERS)

    async def _picture(self, request: Request) -> Response:
        self._learn_address(request)
        bill = self._bill(request)
        picture = io.BytesIO()
        code = page.qr_code(f"{self._base_url}/pay/{bill.id}")
        code.save(picture, kind="png", scale=8, border=4)
        return Response(picture.getvalue(), media_type="image/png")

    async def _report(self, request: Request) -> Response:
        text = self._commands.reports.get(request.path_params["token"])
        if text is None:
            raise BadRequest(HTTPStatus.NOT_FOUND, "unknown_report")
        return Response(text.encode(), media_type="text/csv")

    def _bill(self, request: Request) -> SimulatedBill:
        bill = self._state.bill(request.path_params["invoice"])
        if bill is None:
            raise BadRequest(HTTPStatus.NOT_FOUND, "unknown_invoice")
        return bill

    def _learn_address(self, request: Request) -> None:
        if not self._base_url:
            self._base_url = f"{request.url.scheme}://{request.url.netloc}"


def create_odengi_bank(
    sid: str, password: str, folder: Path | None = None, *, public_url: str = ""
) -> Starlette:
    """Returns the bank as an ASGI app of its own; without a folder nothing is stored."""
    return OdengiBank(sid, password, folder, public_url=public_url).app


def serve_odengi_bank(
    sid: str, password: str, port: int, folder: Path | None, *, public_url: str = ""
) -> None:
    """Serves the bank alone on this machine until a signal ends it."""
    import uvicorn

    app = create_odengi_bank(sid, password, folder, public_url=public_url)
    uvicorn.run(app, host=LOOPBACK, port=port, log_level="warning")


def _instead(fault: CommandFault) -> Response | None:
    """Returns what is answered before anything is done; None: the command is carried out."""
    if fault.mode == "error":
        return Response("Internal Server Error", HTTPStatus.INTERNAL_SERVER_ERROR)
    if fault.mode == "busy":
        return Response("Too Many Requests", HTTPStatus.TOO_MANY_REQUESTS)
    if fault.mode == "page":
        return HTMLResponse("<html><body>Технические работы</body></html>")
    if fault.mode == "redirect":
        return RedirectResponse("http://127.0.0.1:9/internal", HTTPStatus.MOVED_PERMANENTLY)
    return None


async def _spoil(fault: CommandFault, answered: Response) -> Response:
    """Returns the answer as it arrives; what was asked for is done."""
    if fault.mode == "lost":
        return Response("Bad Gateway", HTTPStatus.BAD_GATEWAY)
    if fault.mode == "slow_bytes":
        content = bytes(answered.body)
        return StreamingResponse(
            _byte_by_byte(content, fault.slow_s), media_type="application/json"
        )
    await asyncio.sleep(fault.slow_s)
    return answered


async def _byte_by_byte(content: bytes, pause_s: float) -> AsyncIterator[bytes]:
    for byte in content:
        yield bytes([byte])
        await asyncio.sleep(pause_s)


async def _healthy(_: Request) -> Response:
    return respond({"status": "ok"})
