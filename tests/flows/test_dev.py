"""`evpower dev` as a new user meets it."""

import asyncio
import base64
import hmac
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString

import httpx
import psycopg
import pytest

from evpower.devstack.children import alive, children_of
from evpower.devstack.ports import free_port
from tests.folders import server_folder
from tests.push.scenario import PRIVATE_KEY
from tests.waiting import COMMAND_S, WAIT_LIMIT_S, until

Findings = dict[str, tuple[bool, str]]

pytestmark = [pytest.mark.xdist_group("stacks"), pytest.mark.timeout(900)]


@contextmanager
def dev(data: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """Start `evpower dev`; yields the process and the members of its ready line, then ends it."""
    ports = [f"--{name}={free_port()}" for name in ("port", "supabase-port", "sandbox-port")]
    words = [sys.executable, "-m", "evpower", "dev", "--json", f"--data={data}", *ports, *options]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, "it ended without being ready"
            yield process, json.loads(line)
        finally:
            process.terminate()
            process.wait(COMMAND_S)


@pytest.fixture(scope="module")
def stack() -> Iterator[tuple[Path, dict[str, Any]]]:
    """A data folder and the ready line of its stack, for tests that only call it."""
    with server_folder("dev") as folder, dev(folder / "data") as (_, ready):
        yield folder / "data", ready


def _readiness(api: str) -> dict[str, str]:
    return httpx.get(f"{api}/readyz", trust_env=False, timeout=WAIT_LIMIT_S).json()


def test_it_prints_one_ready_line_and_ends_every_child(folder: Path) -> None:
    with dev(folder / "data") as (process, ready):
        assert ready["ready"] is True
        assert ready["pid"] == process.pid
        assert {"publishable_key", "secret_key", "service_key", "database_url"} <= ready.keys()
        assert ready["ocpp"] == ready["api"].replace("http", "ws", 1) + "/ocpp"
        # On a very busy machine the first checks may report it as degraded.
        asyncio.run(until(lambda: _readiness(ready["api"])["supabase"] == "ok"))
        children = [
            pid for child in children_of(process.pid) for pid in (child, *children_of(child))
        ]
        assert len(children) >= 4
        process.send_signal(signal.SIGINT)
        assert process.wait(COMMAND_S) == 0
    assert [pid for pid in children if alive(pid)] == []


def _as_a_library_signs(secret: str, body: bytes) -> dict[str, str]:
    """Return Standard Webhooks headers; its libraries always decode the secret as base64."""
    key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    sent_at = str(int(time.time()))
    digest = hmac.digest(key, f"msg_1.{sent_at}.".encode() + body, "sha256")
    signature = f"v1,{base64.b64encode(digest).decode()}"
    return {"webhook-id": "msg_1", "webhook-timestamp": sent_at, "webhook-signature": signature}


def test_commands_use_the_settings_file_it_writes(stack: tuple[Path, dict[str, Any]]) -> None:
    data, ready = stack
    settings = data / "env"
    assert settings.stat().st_mode & 0o777 == 0o600, "it holds keys"
    match = re.search(r"EVPOWER_SANDBOX_SECRET=(\S+)", settings.read_text())
    assert match is not None
    answer = httpx.post(
        f"{ready['api']}/api/v1/payment/webhook/sandbox", content=b"{}", trust_env=False,
        headers=_as_a_library_signs(match[1].strip("'"), b"{}"), timeout=WAIT_LIMIT_S,
    )  # fmt: skip
    assert answer.json()["error"] == "invalid_webhook"  # the signature was right, "{}" is not
    words = f". '{settings}' && exec '{sys.executable}' -m evpower sync check"
    done = subprocess.run(
        ["sh", "-c", words], capture_output=True, text=True, timeout=COMMAND_S, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("equal\n")


def test_a_driver_pays_through_the_bank_that_was_chosen(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what the environment says goes on to EvPower."""
    monkeypatch.setenv("EVPOWER_SIGN_IN_SENDER", "console")  # its secret is dev's own
    monkeypatch.setenv("EVPOWER_WITHOUT_TOKEN_MOBILE", "read")
    monkeypatch.setenv("EVPOWER_PUSH_VAPID_PRIVATE_KEY", PRIVATE_KEY)
    monkeypatch.setenv("EVPOWER_PUSH_CONTACT", "mailto:support@example.kg")
    driver = {"email": "two@example.kg", "password": "a good password", "phone": "+996555000002"}
    with (
        dev(folder / "data", "--bank=odengi") as (_, ready),
        httpx.Client(trust_env=False, timeout=WAIT_LIMIT_S) as http,
    ):
        client_id = http.post(f"{ready['api']}/api/v1/auth/register", json=driver).json()[
            "client_id"
        ]
        signed_in = http.post(
            f"{ready['supabase']}/auth/v1/token?grant_type=password",
            headers={"apikey": ready["publishable_key"]},
            json={"email": driver["email"], "password": driver["password"]},
        ).json()
        http.headers["Authorization"] = f"Bearer {signed_in['access_token']}"
        begun = http.post(f"{ready['api']}/api/v1/balance/topup-qr", json={"amount": 150}).json()
        assert begun["qr_code"].startswith("000201")
        page = begun["app_link"].partition("?")[0]
        assert "150" in http.get(page).text
        assert http.post(f"{page}/approve", data={}).status_code == 200

        def balance() -> float:
            return http.get(f"{ready['api']}/api/v1/balance/{client_id}").json()["balance"]

        asyncio.run(until(lambda: balance() == 150))
        key = http.get(f"{ready['api']}/api/v1/notifications/vapid-public-key")
        assert key.json()["success"] is True
        del http.headers["Authorization"]
        session = f"{ready['api']}/api/charging/status/{client_id}"
        assert http.get(session).json()["error"] == "session_not_found"  # not 401
        code = http.post(f"{ready['api']}/api/v1/auth/send-otp", json={"phone": driver["phone"]})
        assert code.json()["success"] is True


def test_a_second_start_on_the_same_data_carries_on(folder: Path) -> None:
    driver = {"email": "one@example.kg", "password": "a good password", "phone": "+996555000001"}
    with dev(folder / "data") as (_, first):
        made = httpx.post(
            f"{first['api']}/api/v1/auth/register",
            json=driver,
            trust_env=False,
            timeout=WAIT_LIMIT_S,
        )
        assert made.status_code == 201, made.text
    with dev(folder / "data") as (_, second):
        assert second["publishable_key"] == first["publishable_key"]
        assert second["service_key"] == first["service_key"]
        signed_in = httpx.post(
            f"{second['supabase']}/auth/v1/token?grant_type=password",
            headers={"apikey": second["publishable_key"]},
            json={"email": driver["email"], "password": driver["password"]},
            trust_env=False,
            timeout=WAIT_LIMIT_S,
        )
        client_id = made.json()["client_id"]
        balance = httpx.get(
            f"{second['api']}/api/v1/balance/{client_id}",
            headers={"Authorization": f"Bearer {signed_in.json()['access_token']}"},
            trust_env=False,
            timeout=WAIT_LIMIT_S,
        )
        assert balance.json()["balance"] == 0


def test_data_of_an_unreleased_edition_is_refused_until_fresh(folder: Path) -> None:
    with (
        dev(folder / "data") as (_, ready),
        psycopg.connect(ready["database_url"], options="-c role=none") as database,
    ):
        database.execute("update public.evpower_migrations set sha256 = 'another text'")
    ports = [f"--{name}={free_port()}" for name in ("port", "supabase-port", "sandbox-port")]
    done = _run("dev", f"--data={folder / 'data'}", *ports)
    assert done.returncode == 1
    assert "made by an unreleased EvPower" in done.stderr
    assert "--fresh" in done.stderr
    assert "Traceback" not in done.stderr
    with dev(folder / "data", "--fresh") as (_, ready):
        assert ready["ready"] is True


def test_a_crash_of_the_command_leaves_no_stack_that_blocks_the_next(folder: Path) -> None:
    with dev(folder / "data") as (process, _):
        process.kill()
        process.wait()
    with dev(folder / "data") as (_, ready):
        assert ready["ready"] is True


def test_a_port_in_use_is_a_clear_error(folder: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        words = ["dev", f"--data={folder / 'data'}", f"--port={port}"]
        done = _run(*words, f"--supabase-port={free_port()}", f"--sandbox-port={free_port()}")
    assert done.returncode == 1
    assert str(port) in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_evpower_did_not_make_is_refused_and_stays(folder: Path) -> None:
    (folder / "thesis.txt").write_text("years of work")
    ports = [f"--{name}={free_port()}" for name in ("port", "supabase-port", "sandbox-port")]
    done = _run("dev", "--fresh", f"--data={folder}", *ports)
    assert done.returncode == 1
    assert "--data" in done.stderr
    assert (folder / "thesis.txt").exists()


def test_the_demo_ends_equal(folder: Path) -> None:
    done = _run("demo", "--drivers=4", f"--data={folder / 'demo'}", timeout_s=3 * COMMAND_S)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "drift 0" in done.stdout
    assert "Equal to the last tyiyn" in done.stdout


def _run(*words: str, timeout_s: float = COMMAND_S) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "evpower", *words],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env=os.environ,
        check=False,
    )


def test_doctor_finds_a_running_stack_healthy_and_names_what_it_lacks(
    stack: tuple[Path, dict[str, Any]],
) -> None:
    data, ready = stack
    env = {
        **os.environ,
        "EVPOWER_ENV": "development",
        "EVPOWER_DATABASE_URL": ready["database_url"],
        "EVPOWER_SUPABASE_URL": ready["supabase"],
        "EVPOWER_SUPABASE_SECRET_KEY": ready["secret_key"],
        "EVPOWER_SUPABASE_PUBLISHABLE_KEY": ready["publishable_key"],
        "EVPOWER_SUPABASE_JWT_SECRET": _jwt_secret(data / "env"),
    }
    # On a very busy machine the doctor may report a timeout at first.
    healthy = _doctor_finds(env, lambda findings: all(ok for ok, _ in findings.values()))
    assert {"database", "migrations", "database clock", "Supabase clock"} <= healthy.keys()

    lacking = "Supabase function evpower_digest"
    with _without_digest(ready["supabase_database_url"]):
        findings = _doctor_finds(env, lambda findings: not findings.get(lacking, (True, ""))[0])
    assert "supabase/migrations" in findings[lacking][1]
    env["EVPOWER_SUPABASE_SECRET_KEY"] = ready["publishable_key"]
    refused = "Supabase secret key"
    findings = _doctor_finds(env, lambda findings: not findings.get(refused, (True, ""))[0])
    assert "sb_secret_" in findings[refused][1]


@contextmanager
def _without_digest(dsn: str) -> Iterator[None]:
    """Hides one of Supabase's functions for a while."""
    with psycopg.connect(dsn, autocommit=True) as supabase:

        def rename(before: LiteralString, after: LiteralString) -> None:
            supabase.execute(f"alter function public.{before}(jsonb) rename to {after}")
            supabase.execute("notify pgrst, 'reload schema'")

        rename("evpower_digest", "hidden")
        try:
            yield
        finally:
            rename("hidden", "evpower_digest")


def _jwt_secret(settings: Path) -> str:
    """Return the secret from the settings file that the stack writes for other commands."""
    match = re.search(r"SUPABASE_JWT_SECRET=(.+)", settings.read_text())
    assert match is not None
    return shlex.split(match[1])[0]


def _doctor_finds(env: dict[str, str], fits: Callable[[Findings], bool]) -> Findings:
    """Run the doctor until its findings fit; returns them."""
    findings: Findings = {}

    def run_doctor() -> bool:
        findings.clear()
        findings.update(_doctor(env))
        return fits(findings)

    try:
        asyncio.run(until(run_doctor))
    except AssertionError as error:
        raise AssertionError(f"the doctor's last findings: {findings}") from error
    return findings


def _doctor(env: dict[str, str]) -> Findings:
    done = subprocess.run(
        [sys.executable, "-m", "evpower", "doctor", "--json"],
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        env=env,
        check=False,
    )
    assert done.stdout, done.stderr
    return {check["name"]: (check["ok"], check["fix"]) for check in json.loads(done.stdout)}
