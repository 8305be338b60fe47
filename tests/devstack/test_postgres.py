"""The embedded PostgreSQL starts, survives crashes, and names the cause when it can't start."""

import asyncio
import os
import signal
import socket
from pathlib import Path

import asyncpg
import pytest

from evpower.devstack import children
from evpower.devstack.errors import DevstackError
from evpower.devstack.postgres.accounts import unprivileged
from evpower.devstack.postgres.server import EmbeddedPostgres
from tests.waiting import freeze, until


async def _value(cluster: EmbeddedPostgres, sql: str) -> object:
    connection = await asyncpg.connect(cluster.dsn("postgres"))
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def test_cluster_is_durable_utf8_and_on_the_loopback_only(postgres: EmbeddedPostgres) -> None:
    assert await _value(postgres, "show server_encoding") == "UTF8"
    assert await _value(postgres, "show synchronous_commit") == "on"
    assert await _value(postgres, "show listen_addresses") == "127.0.0.1"
    assert await _value(postgres, "select datlocale from pg_database limit 1") == "C.UTF-8"
    assert (postgres.bin_dir / "pgbench").exists()


async def test_password_is_private_and_needed(postgres: EmbeddedPostgres) -> None:
    secret = postgres.data_dir.with_name("pg.password")
    assert secret.stat().st_mode & 0o777 == 0o600
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(postgres.dsn("postgres").replace(postgres.password, "guess"))


async def test_committed_row_survives_a_kill(folder: Path) -> None:
    cluster = EmbeddedPostgres(folder / "pg")
    await cluster.start()
    try:
        assert await _value(cluster, "show fsync") == "on"
        await _value(cluster, "create table data as select 7 as n")
        cluster.kill()
        assert not cluster.running
        await cluster.start()
        assert await _value(cluster, "select n from data") == 7
    finally:
        await cluster.stop()


async def test_a_backend_that_outlives_its_postmaster_is_waited_for(folder: Path) -> None:
    """It holds the shared memory; on a busy machine it notices late that it is alone."""
    cluster = EmbeddedPostgres(folder / "pg")
    await cluster.start()
    connection = await asyncpg.connect(cluster.dsn("postgres"))
    late = connection.get_server_pid()
    await freeze(late)
    os.kill(cluster.pid, signal.SIGKILL)  # from outside: its backends go on
    try:
        await until(lambda: not cluster.running)
        starting = asyncio.create_task(cluster.start())
        in_use = "pre-existing shared memory block"
        await until(lambda: starting.done() or cluster.log.read_text().count(in_use) > 20)
        assert not starting.done(), await starting
        os.kill(late, signal.SIGCONT)
        await starting
        assert await _value(cluster, "select 1") == 1
    finally:
        children.signal_pid(late, signal.SIGCONT)
        connection.terminate()
        await cluster.stop()


async def test_pid_file_naming_a_stranger_is_no_obstacle(folder: Path) -> None:
    cluster = EmbeddedPostgres(folder / "pg")
    await cluster.start()
    try:
        pid_file = cluster.data_dir / "postmaster.pid"
        lines = pid_file.read_text().split("\n")
        cluster.kill()
        pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]))
        await cluster.start()
        assert await _value(cluster, "select 1") == 1
    finally:
        await cluster.stop()


async def test_orphan_on_the_same_folder_is_stopped_first(folder: Path) -> None:
    cluster = EmbeddedPostgres(folder / "pg")
    await cluster.start()
    await cluster.stop()
    orphan = children.spawn(
        "orphan",
        [
            *(cluster.bin_dir / "postgres", "-D", cluster.data_dir, "-p", str(cluster.port)),
            *("-c", "unix_socket_directories="),
        ],
        log=folder / "orphan.log",
        account=unprivileged(),
        cwd=folder,
    )
    try:
        pid_file = cluster.data_dir / "postmaster.pid"
        while "ready" not in (pid_file.read_text() if pid_file.exists() else ""):
            assert orphan.running, orphan.log_tail()
            await orphan.wait(0.02)
        await cluster.start()
        assert orphan.exit_code == 0
        assert await _value(cluster, "select 1") == 1
    finally:
        await cluster.stop()
        orphan.kill()


async def test_second_owner_of_a_folder_is_refused(postgres: EmbeddedPostgres) -> None:
    with pytest.raises(DevstackError, match="Another EvPower process"):
        await EmbeddedPostgres(postgres.data_dir).start()


async def test_taken_port_is_named_with_its_flag(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(DevstackError, match=rf"Port {port}.*--postgres-port"):
            await EmbeddedPostgres(folder / "pg", port=port).start()


async def test_folder_that_is_no_cluster_is_refused(folder: Path) -> None:
    (folder / "pg").mkdir()
    (folder / "pg" / "thesis.txt").write_text("mine")
    with pytest.raises(DevstackError, match="not a PostgreSQL data folder"):
        await EmbeddedPostgres(folder / "pg").start()
    assert (folder / "pg" / "thesis.txt").exists()


async def test_other_major_version_is_refused(folder: Path) -> None:
    (folder / "pg").mkdir()
    (folder / "pg" / "PG_VERSION").write_text("16\n")
    with pytest.raises(DevstackError, match="made by PostgreSQL 16, this is 18"):
        await EmbeddedPostgres(folder / "pg").start()


async def test_damaged_cluster_quotes_the_server_in_one_line(folder: Path) -> None:
    cluster = EmbeddedPostgres(folder / "pg")
    await cluster.start()
    await cluster.stop()
    (cluster.data_dir / "global" / "pg_control").unlink()
    with pytest.raises(DevstackError, match="pg_control") as caught:
        await cluster.start()
    assert "\n" not in str(caught.value)


async def test_a_closed_folder_above_is_named_when_postgres_runs_as_another_user(
    folder: Path,
) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    cluster = EmbeddedPostgres(closed / "pg")
    if os.geteuid() != 0:  # the folder's owner runs PostgreSQL itself and may enter
        await cluster.start()
        await cluster.stop()
        return
    with pytest.raises(DevstackError, match=rf"can't enter {closed}.*chmod o\+x"):
        await cluster.start()


async def test_folder_that_can_not_be_made_is_refused() -> None:
    """In /proc no user can make folders, not even root."""
    with pytest.raises(DevstackError, match=r"can't be made.*--data"):
        await EmbeddedPostgres(Path("/proc/evpower/pg")).start()
