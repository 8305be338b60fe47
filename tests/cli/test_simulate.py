"""`evpower station simulate` at a foreign CSMS."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from ocpp.v16 import call
from ocpp.v16.enums import MessageTrigger

from evpower.simulator import PERSONAS
from tests.cli.test_commands import evpower
from tests.simulator.csms import Csms, running_csms
from tests.simulator.rig import TAG
from tests.simulator.test_connect import closed_port
from tests.waiting import until


@asynccontextmanager
async def simulating(*words: str) -> AsyncGenerator[Process]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("EVPOWER_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "evpower", "station", "simulate", *words,
        stdout=PIPE, stderr=PIPE, env=env,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def send(csms: Csms, request: Any) -> None:
    """Let the CSMS send the newest connection a request, and wait for the answer."""
    station: Any = csms.station  # the library's types are incomplete
    await station.call(request)


@pytest.mark.usefixtures("true_starts")
async def test_ctrl_c_ends_the_charge_and_prints_what_was_delivered() -> None:
    async with running_csms() as csms:
        words = ("--id", "EV-7", "--url", csms.url, "--speed", "100000")
        async with simulating(*words) as process:
            await until(lambda: csms.count("StatusNotification") >= 2)
            await send(csms, call.RemoteStartTransaction(id_tag=TAG, connector_id=1))
            await until(lambda: csms.count("StartTransaction"))
            process.send_signal(signal.SIGINT)
            out, err = await process.communicate()
        [stop] = csms.payloads("StopTransaction")
        assert (process.returncode, err) == (0, b"")
        lines = out.decode().splitlines()
        assert lines[-1] == f"delivered {stop['meterStop']} Wh in 1 transaction"
        assert "EV-7/1 status Charging" in lines


async def test_the_rated_power_is_an_option() -> None:
    async with running_csms() as csms:
        words = ("--id", "EV-8", "--url", csms.url, "--power-kw", "22.5", "--speed", "2")
        async with simulating(*words):
            await until(lambda: csms.count("StatusNotification") >= 2)
            await send(csms, call.RemoteStartTransaction(id_tag=TAG, connector_id=1))
            await until(lambda: csms.count("StartTransaction"))
            await send(csms, call.TriggerMessage(MessageTrigger.meter_values, connector_id=1))
            await until(lambda: csms.count("MeterValues"))
        [value] = csms.payloads("MeterValues")[0]["meterValue"]
        powers = [
            sample["value"]
            for sample in value["sampledValue"]
            if sample.get("measurand") == "Power.Active.Import"
        ]
        assert [float(power) for power in powers] == [45_000]


async def test_values_come_at_the_interval_of_the_option() -> None:
    async with running_csms() as csms:
        words = ("--id", "EV-8", "--url", csms.url, "--sample-s", "1")
        async with simulating(*words):
            await until(lambda: csms.count("StatusNotification") >= 2)
            await send(csms, call.RemoteStartTransaction(id_tag=TAG, connector_id=1))
            await until(lambda: csms.count("MeterValues") >= 2)


async def test_what_happens_from_outside_is_an_option() -> None:
    async with running_csms() as csms:
        words = (
            "--id", "EV-9", "--url", csms.url, "--at", "0.5 card A1B2C3D4E5F6",
            "--at", "2 lose-network", "--at", "2.5 restore-network", "--at", "4 stop",
            "--at", "4.5 second-socket", "--at", "4.6 reboot",
        )  # fmt: skip
        async with simulating(*words) as process:
            await until(lambda: csms.count("BootNotification") >= 2)
            process.send_signal(signal.SIGINT)
            out, _ = await process.communicate()
        assert [start["idTag"] for start in csms.payloads("StartTransaction")] == ["A1B2C3D4E5F6"]
        assert csms.count("StopTransaction") == 1
        assert csms.handshakes >= 3
        assert "EV-9 act lose-network" in out.decode().splitlines()


@pytest.mark.parametrize("plan", ["lose-network", "x reboot", "-1 reboot", "1 explode", "1 card"])
def test_a_plan_that_cannot_be_read_is_refused(tmp_path: Path, plan: str) -> None:
    words = ("--id", "E", "--url", "ws://127.0.0.1:1", "--at", plan)
    done = evpower(tmp_path, "station", "simulate", *words)
    assert done.returncode == 1
    assert "cut-power" in done.stderr


async def test_many_stations_show_how_many_are_online() -> None:
    async with running_csms() as csms:
        async with simulating("--id", "EV", "--url", csms.url, "--count", "12") as process:
            await until(lambda: csms.count("StatusNotification") == 24)
            process.send_signal(signal.SIGTERM)
            out, err = await process.communicate()
        assert process.returncode == 0
        assert "stations online: 12 of 12" in err.decode()
        assert out.decode() == "delivered 0 Wh in 0 transactions\n"


async def test_a_wrong_password_is_an_error_with_a_hint() -> None:
    async with running_csms(password="right") as csms:
        words = ("--id", "EV", "--url", csms.url, "--password", "wrong")
        async with simulating(*words) as process:
            _, err = await process.communicate()
        assert process.returncode == 1
        assert "refuses EV with this password (HTTP 401)" in err.decode()
        assert "--password" in err.decode()


@pytest.mark.parametrize(
    ("host", "text"), [("no-such-host.invalid", "no such host"), ("127.0.0.1", "can't be reached")]
)
def test_a_server_that_is_not_there_is_one_line(tmp_path: Path, host: str, text: str) -> None:
    url = f"ws://{host}:{closed_port()}/ocpp"
    done = evpower(tmp_path, "station", "simulate", "--id", "EV", "--url", url)
    assert done.returncode == 1
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_persona_lists_the_personas(tmp_path: Path) -> None:
    words = ("--id", "EV", "--url", "ws://127.0.0.1:1", "--persona", "none")
    done = evpower(tmp_path, "station", "simulate", *words)
    assert done.returncode == 1
    assert "jigu-no-redial" in done.stderr


def test_the_personas_are_listed_with_what_they_do(tmp_path: Path) -> None:
    done = evpower(tmp_path, "station", "simulate", "--persona", "list")
    assert done.returncode == 0, done.stderr
    shown = " ".join(done.stdout.split())
    for name, persona in PERSONAS.items():
        assert f"{name}: {persona.summary}" in shown
