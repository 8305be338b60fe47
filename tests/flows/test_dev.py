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
from typing import Any

import httpx
import psycopg
import pytest

from evpower.devstack.children import alive, children_of
from evpower.devstack.ports import free_port
from tests.waiting import COMMAND_S, WAIT_LIMIT_S, until

Findings = dict[str, tuple[bool, str]]

pytestmark = [pytest.mark.xdist_group("stacks"), pytest.mark.timeout(900)]


@contextmanager
def dev(data: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """Start it and wait for its one line; ended at the latest here."""
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


def _readiness(api: str) -> dict[str, str]:
    return httpx.get(f"{api}/readyz", trust_env=False, timeout=WAIT_LIMIT_S).json()


def test_one_line_when_ready_and_every_child_ends_with_it(folder: Path) -> None:
    with dev(folder / "data") as (process, said):
        assert said["ready"] is True
        assert said["pid"] == process.pid
        assert {"publishable_key", "secret_key", "service_key", "database_url"} <= said.keys()
        # A machine that is very busy may have it degraded for a look or two.
        asyncio.run(until(lambda: _readiness(said["api"])["supabase"] == "ok"))
        children = [
            pid for child in children_of(process.pid) for pid in (child, *children_of(child))
        ]
        assert len(children) >= 4
        process.send_signal(signal.SIGINT)
        assert process.wait(COMMAND_S) == 0
    assert [pid for pid in children if alive(pid)] == []


def _as_a_library_signs(secret: str, body: bytes) -> dict[str, str]:
    """Headers of Standard Webhooks: its libraries decode the secret as base64, always."""
    key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    sent_at = str(int(time.time()))
    digest = hmac.digest(key, f"msg_1.{sent_at}.".encode() + body, "sha256")
    signature = f"v1,{base64.b64encode(digest).decode()}"
    return {"webhook-id": "msg_1", "webhook-timestamp": sent_at, "webhook-signature": signature}


def test_commands_speak_to_it_with_the_settings_it_left(folder: Path) -> None:
    with dev(folder / "data") as (_, said):
        settings = folder / "data" / "env"
        assert settings.stat().st_mode & 0o777 == 0o600, "it holds keys"
        found = re.search(r"EVPOWER_SANDBOX_SECRET=(\S+)", settings.read_text())
        assert found is not None
        answer = httpx.post(
            f"{said['api']}/api/v1/payment/webhook/sandbox", content=b"{}", trust_env=False,
            headers=_as_a_library_signs(found[1].strip("'"), b"{}"), timeout=WAIT_LIMIT_S,
        )  # fmt: skip
        assert answer.json()["error"] == "invalid_webhook"  # the signature was right, "{}" is not
        words = f". '{settings}' && exec '{sys.executable}' -m evpower sync check"
        done = subprocess.run(
            ["sh", "-c", words], capture_output=True, text=True, timeout=COMMAND_S, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.endswith("equal\n")


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
        dev(folder / "data") as (_, said),
        psycopg.connect(said["database_url"], options="-c role=none") as database,
    ):
        database.execute("update public.evpower_migrations set sha256 = 'another text'")
    ports = [f"--{name}={free_port()}" for name in ("port", "supabase-port", "sandbox-port")]
    done = _run("dev", f"--data={folder / 'data'}", *ports)
    assert done.returncode == 1
    assert "made by an unreleased EvPower" in done.stderr
    assert "--fresh" in done.stderr
    assert "Traceback" not in done.stderr
    with dev(folder / "data", "--fresh") as (_, said):
        assert said["ready"] is True


def test_a_crash_of_the_command_leaves_no_stack_that_blocks_the_next(folder: Path) -> None:
    with dev(folder / "data") as (process, _):
        process.kill()
        process.wait()
    with dev(folder / "data") as (_, said):
        assert said["ready"] is True


def test_a_taken_port_is_a_clear_line(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        words = ["dev", f"--data={folder / 'data'}", f"--port={port}"]
        done = _run(*words, f"--supabase-port={free_port()}", f"--sandbox-port={free_port()}")
    assert done.returncode == 1
    assert str(port) in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


def test_someone_elses_folder_is_refused_and_kept(folder: Path) -> None:
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


def test_doctor_finds_a_running_stack_healthy_and_names_what_it_lacks(folder: Path) -> None:
    with dev(folder / "data") as (_, said):
        env = {
            **os.environ,
            "EVPOWER_ENV": "development",
            "EVPOWER_DATABASE_URL": said["database_url"],
            "EVPOWER_SUPABASE_URL": said["supabase"],
            "EVPOWER_SUPABASE_SECRET_KEY": said["secret_key"],
            "EVPOWER_SUPABASE_PUBLISHABLE_KEY": said["publishable_key"],
            "EVPOWER_SUPABASE_JWT_SECRET": _jwt_secret(folder / "data" / "env"),
        }
        # A machine that is very busy may keep it waiting for an answer, which it says.
        healthy = _doctor_finds(env, lambda found: all(ok for ok, _ in found.values()))
        assert {"database", "migrations", "database clock", "Supabase clock"} <= healthy.keys()

        with psycopg.connect(said["supabase_database_url"], autocommit=True) as supabase:
            supabase.execute("drop function public.evpower_digest(jsonb)")
            supabase.execute("notify pgrst, 'reload schema'")
        lacking = "Supabase function evpower_digest"
        found = _doctor_finds(env, lambda found: not found.get(lacking, (True, ""))[0])
        assert "supabase/migrations" in found[lacking][1]
        env["EVPOWER_SUPABASE_SECRET_KEY"] = said["publishable_key"]
        refused = "Supabase secret key"
        found = _doctor_finds(env, lambda found: not found.get(refused, (True, ""))[0])
        assert "sb_secret_" in found[refused][1]


def _jwt_secret(settings: Path) -> str:
    """From what the stack leaves for the other commands."""
    found = re.search(r"SUPABASE_JWT_SECRET=(.+)", settings.read_text())
    assert found is not None
    return shlex.split(found[1])[0]


def _doctor_finds(env: dict[str, str], fits: Callable[[Findings], bool]) -> Findings:
    """Call the doctor until what he finds fits; answers that."""
    found: Findings = {}

    def looks() -> bool:
        found.clear()
        found.update(_doctor(env))
        return fits(found)

    try:
        asyncio.run(until(looks))
    except AssertionError as error:
        raise AssertionError(f"the doctor goes on finding {found}") from error
    return found


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
    return {one["name"]: (one["ok"], one["fix"]) for one in json.loads(done.stdout)}
