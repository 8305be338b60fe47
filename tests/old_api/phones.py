"""A phone with an old revision of the app: its calls in their form, its rules for every answer."""

import re
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

import httpx
import jwt

from tests.flows.charging_site import Phone, Site
from tests.old_api.reactions import Answer, shown
from tests.old_api.revisions import Revision, assert_taken, read_by
from tests.waiting import until

# The host that the pages of a revision are built for.
HOSTS: Final[dict[Revision, str]] = {
    "R1": "ocpp.evpower.kg",
    "R3": "ocpp.evpower.kg",
    "R5": "ocpp.voltera.kg",
    "HEAD": "ocpp.voltera.kg",
}
FREE: Final[dict[Revision, str]] = {
    "R1": "active",
    "R3": "active",
    "R5": "available",
    "HEAD": "available",
}


@dataclass
class OldPhone:
    """One driver's phone. `shown` is what its pages showed of refusals."""

    revision: Revision
    site: Site
    client_id: str
    token: str | None
    refresh_token: str = ""
    shown: list[str] = field(default_factory=list)

    async def call(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """Sends a call as this revision writes it."""
        headers = {"Host": HOSTS[self.revision], "Content-Type": "application/json"}
        if self.revision != "R1":  # the first one sends neither
            if self.token is not None:
                headers["Authorization"] = f"Bearer {self.token}"
            if method != "GET" and not path.startswith("/auth/"):
                headers["Idempotency-Key"] = str(uuid4())  # another one for each tap
        url = f"{self.site.evpower.api_url}/api/v1{path}"
        return await self.site.http.request(method, url, headers=headers, json=body)

    async def read(self, route: str, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Calls, and takes the answer by the revision's rules."""
        response = await self.call(method, path, body)
        assert response.status_code == 200, f"{method} {path}: {response.text}"
        answer: dict[str, Any] = response.json()
        assert_taken(route, self._with_https(answer), self.revision)
        return answer

    async def refused(self, route: str, method: str, path: str, body: Any = None) -> str:
        """Calls what is refused; returns what the page shows of it."""
        response = await self.call(method, path, body)
        content_type = response.headers["content-type"]
        answer = Answer(response.status_code, content_type, response.json())
        assert answer.body["success"] is False
        self.shown.append(shown(self.revision, route, answer))
        return self.shown[-1]

    async def sign_in(self, number: str) -> dict[str, Any]:
        """HEAD's pages of the number and the code; stores the tokens and returns the user."""
        await self.read("send_otp", "POST", "/auth/send-otp", {"phone": number})
        body = {"phone": number, "code": await sms_code(self.site, number)}
        answer = await self.read("verify_otp", "POST", "/auth/verify-otp", body)
        self.token, self.refresh_token = answer["access_token"], answer["refresh_token"]
        claims = jwt.decode(self.token, options={"verify_signature": False})
        assert claims["type"] == "client"
        self.client_id = claims["sub"]
        return answer

    async def cold_start(self) -> dict[str, Any]:
        """A start of the app: it refreshes with the token it has, which it never replaces."""
        body = {"refresh_token": self.refresh_token}
        answer = await self.read("refresh", "POST", "/auth/refresh", body)
        self.token = answer["access_token"]
        return (await self.read("me", "GET", "/auth/me"))["user"]

    async def locations(self) -> list[dict[str, Any]]:
        """The map: the marks with the stations under them."""
        answer = await self.read("locations", "GET", "/locations?include_stations=true")
        return [place for place in answer["locations"] if self._has_mark(place)]

    async def listed(self, station_id: str) -> str:
        """The word of a station in the list."""
        for place in await self.locations():
            for station in place["stations"]:
                if station_id in (station["id"], station["serial_number"]):
                    return station["status"]
        return "not listed"

    async def station(self, station_id: str) -> dict[str, Any]:
        return await self.read("station", "GET", f"/station/status/{station_id}")

    async def balance(self) -> float:
        return (await self.read("balance", "GET", f"/balance/{self.client_id}"))["balance"]

    async def top_up(self, som: int) -> dict[str, Any]:
        """The QR that is shown; the newer revisions leave the description out."""
        body: dict[str, Any] = {"client_id": self.client_id, "amount": som}
        if self.revision == "R1":
            body["description"] = "Пополнение баланса"
        return await self.read("top_up", "POST", "/balance/topup-qr", body)

    async def payment(self, invoice_id: str) -> Any:
        """A payment as the waiting dialog reads it."""
        path = f"/payment/status/{invoice_id}"
        return read_by(self.revision, "payment", await self.read("payment", "GET", path))

    async def pay(self, qr: dict[str, Any]) -> None:
        """Pays in the bank's app, then the dialog polls until it says "paid"."""
        link = qr["payment_url" if self.revision == "R1" else "app_link"]
        assert not (await self.payment(qr["invoice_id"])).is_paid()
        await self.approve(link)

        async def is_paid() -> bool:
            return (await self.payment(qr["invoice_id"])).is_paid()

        await until(is_paid, f"{self.revision}'s dialog never showed the payment")

    async def approve(self, link: str) -> None:
        """Opens the link in the bank's app, and pays there."""
        page = link.partition("?")[0]
        approved = await self.site.http.post(f"{page}/approve", json={})
        assert approved.is_success, approved.text

    def start_body(self, station_id: str, connector: int, **limits: Any) -> dict[str, Any]:
        body = {"station_id": station_id, "connector_id": connector, **limits}
        return {"client_id": self.client_id, **body} if self.revision == "R1" else body

    async def start(self, station_id: str, connector: int = 1, **limits: Any) -> str:
        """Starts from the station's page, which asks for its status first."""
        page = await self.station(station_id)
        assert page["available_for_charging"] is True, page
        body = self.start_body(page["serial_number"], connector, **limits)
        return (await self.read("start", "POST", "/charging/start", body))["session_id"]

    async def session(self, session_id: str) -> dict[str, Any]:
        """The live page and the end page read the same call."""
        answer = await self.read("status", "GET", f"/charging/status/{session_id}")
        return answer["session"]

    async def charges(self, session_id: str, least_kwh: float) -> None:
        async def is_shown() -> bool:
            session = await self.session(session_id)
            assert session["status"] == "started", "the stop button is gone"
            return session["energy_consumed"] >= least_kwh

        await until(is_shown, f"{self.revision}'s live page never showed {least_kwh} kWh")

    async def stop(self, session_id: str) -> dict[str, Any]:
        return await self.read("stop", "POST", "/charging/stop", {"session_id": session_id})

    async def ends(self, session_id: str) -> dict[str, Any]:
        """Polls until the live page opens the end page; returns what that shows."""

        async def has_ended() -> bool:
            return (await self.session(session_id))["status"] == "stopped"

        await until(has_ended, f"{self.revision}'s live page never ended")
        return await self.session(session_id)

    async def rows(self, query: str) -> list[dict[str, Any]]:
        """Reads Supabase itself, as the balance and history pages do."""
        urls = self.site.evpower.urls()
        headers = {"apikey": urls.publishable_key, "Authorization": f"Bearer {self.token}"}
        answer = await self.site.http.get(f"{urls.supabase}/rest/v1/{query}", headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def history(self) -> list[dict[str, Any]]:
        """The charges of the history page."""
        query = f"charging_sessions?select=*&user_id=eq.{self.client_id}&order=created_at.desc"
        return await self.rows(query)

    async def stored_balance(self) -> float:
        [row] = await self.rows(f"clients?select=balance&id=eq.{self.client_id}")
        return float(row["balance"])

    def _with_https(self, answer: dict[str, Any]) -> dict[str, Any]:
        """The sandbox bank of this machine has no certificate; the pages show https pictures."""
        local = self.site.evpower.urls().sandbox
        if str(answer.get("qr_code_url", "")).startswith(local):
            picture = answer["qr_code_url"].replace("http:", "https:", 1)
            return {**answer, "qr_code_url": picture}
        return answer

    def _has_mark(self, place: dict[str, Any]) -> bool:
        """The older pages read flat coordinates, the newer nested ones."""
        at = place if self.revision in ("R1", "R3") else place["coordinates"]
        return at.get("latitude") is not None and at.get("longitude") is not None


async def sms_code(site: Site, number: str) -> str:
    """The code of the newest message to a number, as the process writes it to its terminal."""
    message = re.compile(rf"SMS to {re.escape(number)}: .*?(\d{{6}})")
    codes: list[str] = []

    def has_come() -> bool:
        for log in site.evpower.stack.data.glob("*.log"):
            codes.extend(message.findall(log.read_text("utf-8", errors="replace")))
        return bool(codes)

    await until(has_come, f"no code was sent to {number}")
    return codes[-1]


async def supabase_phone(revision: Revision, site: Site) -> OldPhone:
    """A phone whose driver has signed up in Supabase, with email and password."""
    driver = Phone(site.evpower, site.http)
    await driver.sign_up()
    return OldPhone(revision, site, str(driver.client_id), driver._token)
