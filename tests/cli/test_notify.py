"""Commands that move money or change clients notify running nodes, and succeed without any."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn
from uuid import UUID

import pytest
from typer.testing import CliRunner

from evpower.cli import identity as identity_commands
from evpower.cli import notify
from evpower.cli import sync as sync_commands
from evpower.cli.app import app
from evpower.devstack.nats import LocalNats
from evpower.foundation.bus import EVERYTHING
from evpower.foundation.db import Connection
from evpower.identity import CLIENT_CHANGED
from tests.cli.patient import PATIENT
from tests.foundation.nats_nodes import Node, serving
from tests.waiting import COMMAND_S, WAIT_LIMIT_S, freeze

_LATER = "a few seconds later"


@pytest.fixture
async def nats(tmp_path: Path) -> AsyncIterator[LocalNats]:
    async with serving(LocalNats(tmp_path / "nats", user="ev", password="s3cret")) as server:
        yield server


async def take_cash(
    dsn: str,
    nats_url: str,
    client: UUID,
    tmp_path: Path,
    receipt: str = "1",
    program: Sequence[str | Path] = ("-m", "evpower"),
) -> str:
    """Credit 15 som by the command; answers all it said."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("EVPOWER_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, *program, "payments", "cash", "--client", str(client),
        "--amount", "15", "--receipt", receipt, "--reason", "test",
        cwd=tmp_path,
        env={**clean, "EVPOWER_DATABASE_URL": dsn, "EVPOWER_NATS_URL": nats_url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await asyncio.wait_for(process.communicate(), COMMAND_S)
    output = out.decode()
    assert process.returncode == 0, output
    assert "Traceback" not in output
    assert "s3cret" not in output
    return output


async def test_cash_is_told_once_it_is_committed(
    nats: LocalNats, dsn: str, owner: Connection, client_id: UUID, tmp_path: Path
) -> None:
    node = Node(nats.url)
    cash = partial(take_cash, dsn, nats.url, client_id, tmp_path, program=[PATIENT])
    await node.bus.start()
    try:
        assert await node.bus.wait_connected(WAIT_LIMIT_S)
        assert _LATER not in await cash()
        await node.has_heard((CLIENT_CHANGED, client_id))
        node.heard.clear()
        assert "before" in await cash()
        assert _LATER not in await cash(receipt="2")
        await node.has_heard((CLIENT_CHANGED, client_id))
        assert node.heard == [(CLIENT_CHANGED, client_id)], "what was done before changed nothing"
    finally:
        await node.bus.close()
    balance = "select balance_minor from wallet.wallets where client_id = $1"
    assert await owner.fetchval(balance, client_id) == 3000


async def test_a_nats_that_is_down_fails_no_command(
    nats: LocalNats, dsn: str, client_id: UUID, tmp_path: Path
) -> None:
    nats.kill()
    assert _LATER in await take_cash(dsn, nats.url, client_id, tmp_path)


async def test_a_nats_that_hangs_holds_no_command_up(
    nats: LocalNats, dsn: str, client_id: UUID, tmp_path: Path
) -> None:
    await freeze(nats.pid)
    try:
        assert "no answer in time" in await take_cash(dsn, nats.url, client_id, tmp_path)
    finally:
        os.kill(nats.pid, signal.SIGCONT)


async def test_a_nats_that_knows_us_not_fails_no_command(
    nats: LocalNats, dsn: str, client_id: UUID, tmp_path: Path
) -> None:
    url = nats.url.replace("s3cret", "wrong")
    output = await take_cash(dsn, url, client_id, tmp_path)
    assert f"{_LATER}: NATS: " in output  # which words come behind it, the hang-up may decide


async def test_an_address_that_makes_no_sense_fails_no_command(
    dsn: str, client_id: UUID, tmp_path: Path
) -> None:
    assert _LATER in await take_cash(dsn, "http://s3cret@nats", client_id, tmp_path)


class _Stopped(Exception):
    """Any end of a command."""


def _ends(*_: object, **__: object) -> NoReturn:
    """Work that has committed something and then ends badly."""
    raise _Stopped


@pytest.mark.parametrize(
    ("words", "times"),
    [
        (["sync", "import-balances", "--reason", "x"], 1),
        (["sync", "import-balances", "--reason", "x", "--dry-run"], 0),
        (["sync", "pull"], 1),
        (["sync", "check"], 0),
        (["sync", "check", "--repair"], 1),
        (["identity", "migrate", "--source", "{csv}"], 1),
        (["identity", "migrate", "--source", "{csv}", "--dry-run"], 0),
        (["identity", "revert"], 1),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else str(words),
)
def test_what_changes_many_notifies_for_all_of_them_whatever_comes_in_between(
    words: list[str], times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "old.csv"
    source.write_text("id\n")
    notices: list[Mapping[str, object]] = []
    monkeypatch.setattr(notify, "_tell", lambda changes: notices.append(dict(changes)))
    monkeypatch.setattr(sync_commands, "with_supabase", _ends)
    monkeypatch.setattr(identity_commands, "_with_parts", _ends)
    done = CliRunner().invoke(app, [word.format(csv=source) for word in words])
    assert isinstance(done.exception, _Stopped)
    assert notices == [{CLIENT_CHANGED: EVERYTHING}] * times
