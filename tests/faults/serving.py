"""`evpower serve` as a process of its own, with a Supabase and a bank that the test answers for."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.api.scenario import on_a_socket
from tests.waiting import COMMAND_S, WAIT_LIMIT_S, until

KID = "the-only-key"
BANK_SECRET = "whsec_" + "c2FuZGJveC1iYW5rLW9mLXRoZS10ZXN0cw=="


@dataclass
class Outside:
    """Supabase's signing keys and the bank. With closed gates no call gets a response."""

    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    keys_gate: asyncio.Event = field(default_factory=asyncio.Event)
    bank_gate: asyncio.Event = field(default_factory=asyncio.Event)
    invoices: int = 0

    def app(self) -> Starlette:
        self.keys_gate.set()
        self.bank_gate.set()
        return Starlette(
            routes=[
                Route("/auth/v1/.well-known/jwks.json", self._keys),
                Route("/v1/invoices", self._invoice, methods=["POST"]),
            ]
        )

    async def _keys(self, _: Request) -> Response:
        await self.keys_gate.wait()
        algorithm = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256)
        public = orjson.loads(algorithm.to_jwk(self.key.public_key()))
        return JSONResponse({"keys": [{**public, "kid": KID, "alg": "ES256", "use": "sig"}]})

    async def _invoice(self, _: Request) -> Response:
        self.invoices += 1
        number = self.invoices
        await self.bank_gate.wait()
        link = f"https://bank.example/{number}"
        return JSONResponse(
            {"ref": f"r{number}", "qr_code": link, "qr_code_url": link, "app_link": link}
        )

    def token(self, issuer: str, user: UUID, kid: str = KID, **claims: Any) -> str:
        now = int(time.time())
        payload = {
            "sub": str(user), "aud": "authenticated", "iss": issuer, "role": "authenticated",
            "iat": now, "exp": now + 3600, **claims,
        }  # fmt: skip
        return jwt.encode(payload, self.key, algorithm="ES256", headers={"kid": kid})


@dataclass
class Served:
    """A running process and what is around it."""

    process: Process
    port: int
    outside: Outside
    supabase: str
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def bearer(self, user: UUID, **how: Any) -> dict[str, str]:
        token = self.outside.token(f"{self.supabase}/auth/v1", user, **how)
        return {"Authorization": f"Bearer {token}"}

    async def connect(self, address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection that comes from this address of the loopback."""
        return await asyncio.open_connection("127.0.0.1", self.port, local_addr=(address, 0))

    async def stop(self) -> int:
        """SIGTERM; answers the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), WAIT_LIMIT_S)


@contextlib.contextmanager
def free_port() -> Any:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    yield port


@contextlib.asynccontextmanager
async def served(dsn: str, folder: Path, **settings: str) -> AsyncIterator[Served]:
    outside = Outside()
    log = folder / "serve.log"
    async with on_a_socket(outside.app()) as supabase:
        with free_port() as port, log.open("wb") as written:
            environment = {
                **{k: v for k, v in os.environ.items() if not k.startswith("EVPOWER_")},
                "EVPOWER_ENV": "development", "EVPOWER_DATABASE_URL": dsn,
                "EVPOWER_PORT": str(port), "EVPOWER_SUPABASE_URL": supabase,
                "EVPOWER_SUPABASE_SECRET_KEY": "sb_secret_of_the_tests_0123456789",
                "EVPOWER_SUPABASE_PUBLISHABLE_KEY": "sb_publishable_of_the_tests",
                "EVPOWER_PAYMENT_QR_PROVIDER": "sandbox", "EVPOWER_SANDBOX_URL": supabase,
                "EVPOWER_SANDBOX_SECRET": BANK_SECRET,
                **settings,
            }  # fmt: skip
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "evpower", "serve", "--role", "api",
                env=environment, cwd=folder, stdout=written, stderr=written,
            )  # fmt: skip
        made = Served(process, port, outside, supabase, log)
        try:
            await until(lambda: _is_ready(made), within_s=COMMAND_S)
            yield made
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def _is_ready(made: Served) -> bool:
    assert made.process.returncode is None, made.log.read_text()
    try:
        async with httpx.AsyncClient(trust_env=False) as http:
            return (await http.get(f"{made.url}/readyz", timeout=WAIT_LIMIT_S)).status_code == 200
    except httpx.HTTPError:
        return False


@dataclass
class Phone:
    """A signed-in driver at some address."""

    served: Served
    address: str
    user: UUID = field(default_factory=uuid4)

    async def balance(self) -> None:
        """Ask for the own balance; anything but the right answer fails."""
        async with self.http() as http:
            answer = await http.get(f"/api/v1/balance/{self.user}")
        assert answer.status_code == 200, answer.text
        assert (answer.json()["client_id"], float(answer.json()["balance"])) == (str(self.user), 0)

    async def top_up(self) -> None:
        """Ask for an invoice."""
        async with self.http() as http:
            answer = await http.post("/api/v1/balance/topup-qr", json={"amount": 100})
        assert answer.status_code == 200, answer.text
        assert answer.json()["success"] is True
        assert answer.json()["qr_code"].startswith("https://bank.example/")

    def http(self) -> httpx.AsyncClient:
        transport = httpx.AsyncHTTPTransport(local_address=self.address)
        return httpx.AsyncClient(
            base_url=self.served.url, transport=transport, headers=self.served.bearer(self.user),
            timeout=WAIT_LIMIT_S, trust_env=False,
        )  # fmt: skip
