"""What the database refuses of its own owner, a person in psql too."""

import asyncpg
import pytest

from evpower.foundation.db import Connection, Database
from tests.stations.scenario import Operator

CONNECT = (
    "insert into stations.connections (station_id, address, version, is_authenticated)"
    " values ('A', '10.0.0.1', 'ocpp1.6', true)"
)
QUEUE = (
    "insert into stations.commands (station_id, action, actor, expires_at)"
    " values ('A', 'reset', 'aida', now() + interval '1 minute')"
)
SEND = (
    "update stations.commands set state = 'sent', sent_at = now(),"
    " epoch = (select max(id) from stations.connections) where id = (select {} (id) from"
    " stations.commands)"
)
END = "update stations.commands set state = '{}', ended_at = now()"
CREDENTIAL = "insert into stations.credentials (station_id, secret_sha256) values ('A', '{}')"
HASH = "\\x" + "00" * 32
CONNECTOR = (
    "insert into stations.connectors (station_id, number, evse_number, evse_connector, standard,"
    " format, power_type, rated_power_w) values ('A', {}, {}, {}, '{}', '{}', '{}', {})"
)
LOCATION = "insert into stations.locations (id, name, {}) values ('x', 'X', {})"
STATION = (
    "insert into stations.stations (id, id_key, post_code, location_id, {}) values ('{}', 'x',"
    " '{}', 'mall', {})"
)
NAME = "insert into stations.names (key, name, kind, station_id) values ('{}', '{}', '{}', 'A')"


@pytest.fixture(autouse=True)
async def stored(operator: Operator, owner: Connection) -> None:
    await operator.add("A")
    await operator.add("B")
    await owner.execute(CONNECT)
    await owner.execute(QUEUE)
    await owner.execute(
        "insert into stations.sockets (station_id, epoch, node) select 'A', max(id), 'n1'"
        " from stations.connections"
    )


@pytest.mark.parametrize(
    "statement",
    [
        "update stations.stations set id = 'C' where id = 'A'",
        "update stations.stations set id_key = 'c' where id = 'A'",
        "update stations.stations set post_code = 'abcdef' where id = 'A'",
        "update stations.stations set is_simulated = true where id = 'A'",
        "update stations.stations set retired_at = now() where id = 'A'",  # it is connected
        "delete from stations.stations",
        "truncate stations.stations cascade",
        "delete from stations.locations",
        "delete from stations.evses",
        "delete from stations.connectors",
        "update stations.names set station_id = 'B' where key = 'a'",
        "delete from stations.names",
        "truncate stations.names cascade",
        "update stations.credentials set secret_sha256 = '" + HASH + "'",
        "update stations.credentials set station_id = 'B'",
        "delete from stations.credentials",
        "truncate stations.credentials",
        "update stations.connections set station_id = 'B'",
        "update stations.connections set is_authenticated = false",
        "delete from stations.connections",
        "truncate stations.connections cascade",
        "update stations.sockets set epoch = epoch - 1",
        "update stations.sockets set node = 'n2'",
        "update stations.status_log set status = 'x'",
        "update stations.commands set payload = '{\"a\": 1}'",
        "update stations.commands set expires_at = now() + interval '1 hour'",
        "update stations.commands set station_id = 'B'",
        "update stations.commands set actor = 'b'",
        "delete from stations.commands",
        "truncate stations.commands",
        QUEUE.replace("expires_at)", "expires_at, state, ended_at)").replace(
            "minute')", "minute', 'timed_out', now())"
        ),
    ],
)
async def test_what_is_stored_stays(owner: Connection, statement: str) -> None:
    with pytest.raises(asyncpg.RestrictViolationError):
        await owner.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        LOCATION.format("country", "'kg'"),
        LOCATION.format("latitude", "1"),
        LOCATION.format("latitude, longitude", "91, 0"),
        LOCATION.format("latitude, longitude", "0, -181"),
        "insert into stations.locations (id, name) values ('', 'X')",
        "insert into stations.locations (id, name) values ('x ', 'X')",
        "insert into stations.locations (id, name) values ('x', E'a\\nb')",
        STATION.format("owner", "X", "abcd", "''"),
        STATION.format("owner", "X", "ABCD", "'o'"),
        STATION.format("owner", "X", "abc", "'o'"),
        STATION.format("owner", "", "abcd", "'o'"),
        STATION.format("owner", "X" * 51, "abcd", "'o'"),
        STATION.format("wanted_availability", "X", "abcd", "'off'"),
        STATION.format("reported_availability", "X", "abcd", "'off'"),
        STATION.format("pinned_version", "X", "abcd", "'ocpp1.5'"),
        STATION.format("cards_without_auth", "X", "abcd", "true"),
        STATION.format("vendor", "X", "abcd", f"'{'v' * 256}'"),
        NAME.format("X", "X", "ocpp"),
        NAME.format("y", "X", "ocpp"),
        NAME.format("x", "x", "nickname"),
        NAME.format("x", "x ", "ocpp"),
        NAME.format("", "x", "ocpp"),
        NAME.format("x", "", "ocpp"),
        NAME.format("x" * 51, "x" * 51, "ocpp"),
        NAME.format("x" * 256, "x" * 256, "serial"),
        "insert into stations.evses (station_id, number) values ('A', 0)",
        "insert into stations.evses (station_id, number, evse_id) values ('A', 9, 'E1')",
        CONNECTOR.format(0, 1, 2, "GBT_DC", "CABLE", "DC", 1),
        CONNECTOR.format(9, 1, 0, "GBT_DC", "CABLE", "DC", 1),
        CONNECTOR.format(9, 1, 2, "TYPE2", "CABLE", "DC", 1),
        CONNECTOR.format(9, 1, 2, "GBT_DC", "PLUG", "DC", 1),
        CONNECTOR.format(9, 1, 2, "GBT_DC", "CABLE", "AC", 1),
        CONNECTOR.format(9, 1, 2, "GBT_DC", "CABLE", "DC", 0),
        CONNECTOR.format(9, 1, 2, "GBT_DC", "CABLE", "DC", 10_000_001),
        "update stations.connectors set reported_status = 'Charging', reported_at = now()",
        "update stations.connectors set reported_status = 'charging'",
        "update stations.connectors set wanted_availability = 'x'",
        CREDENTIAL.format("\\x00"),
        "insert into stations.deviations values ('A', 'No Space', 1, '', now(), now())",
        "insert into stations.deviations values ('A', 'a', 0, '', now(), now())",
        "insert into stations.deviations values ('A', 'a', 1, '', now(), now() - interval '1 s')",
        "insert into stations.status_log (station_id, connector, status) values ('A', -1, 'x')",
        "insert into stations.status_log (station_id, connector, status) values ('A', 1, '')",
        CONNECT.replace("'ocpp1.6'", "'ocpp1.5'").replace("'A'", "'B'"),
        CONNECT.replace("'10.0.0.1'", "''").replace("'A'", "'B'"),
        "update stations.connections set closed_at = now()",
        "update stations.connections set close_reason = 'lost'",
        "update stations.connections set closed_at = now(), close_reason = 'bored'",
        "update stations.connections set closed_at = '2000-01-01Z', close_reason = 'lost'",
        QUEUE.replace("'reset'", "'explode'"),
        QUEUE.replace("'aida'", "''"),
        QUEUE.replace("actor,", "actor, payload,").replace("'aida',", "'aida', '[]',"),
        QUEUE.replace("actor,", "actor, connector,").replace("'aida',", "'aida', -1,"),
        "update stations.commands set state = 'sent', sent_at = now()",  # on which socket?
        SEND.format("max").replace("sent_at = now()", "sent_at = expires_at"),
        "update stations.commands set state = 'timed_out'",  # when?
        "insert into stations.unknown_stations values ('', 'x', 'a', 1, now(), now())",
        "insert into stations.unknown_stations values ('x', 'x', 'a', 1, now(), now(), 'late')",
        "insert into stations.unknown_stations values ('x', E'\\x1b', 'a', 1, now(), now())",
        "insert into stations.unknown_stations values ('x', 'x', 'a', 0, now(), now())",
        "insert into stations.unknown_stations values ('x', 'x', 'a', 1, now(), '2000-01-01Z')",
    ],
)
async def test_what_makes_no_sense_is_refused(owner: Connection, statement: str) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await owner.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        NAME.format("b", "b", "serial"),  # another station's id
        NAME.format("x", "x", "post_code"),  # a second one
        CONNECT,  # a second open connection
        CONNECTOR.format(9, 1, 1, "GBT_DC", "CABLE", "DC", 1),
        CONNECTOR.format(1, 1, 2, "GBT_DC", "CABLE", "DC", 1),
        CREDENTIAL.format(HASH),  # a second one that waits
        STATION.format("owner", "A", "abcd", "'o'"),
    ],
)
async def test_what_is_there_once_is_not_there_twice(owner: Connection, statement: str) -> None:
    with pytest.raises(asyncpg.UniqueViolationError):
        await owner.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        STATION.format("owner", "X", "abcd", "'o'"),  # neither id nor post code is a name
        CONNECTOR.format(9, 9, 1, "GBT_DC", "CABLE", "DC", 1),
        SEND.format("max").replace("epoch = (", "epoch = 1 + ("),
        "insert into stations.sockets select 'B', max(id), 'n1' from stations.connections",
        "update stations.stations set location_id = 'nowhere'",
    ],
)
async def test_what_points_nowhere_is_refused(owner: Connection, statement: str) -> None:
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await owner.execute(statement)


async def test_evse_ids_are_unique_over_stations(owner: Connection) -> None:
    evse = "update stations.evses set evse_id = 'KG*EVP*E1' where station_id = '{}' and number = 1"
    await owner.execute(evse.format("A"))
    with pytest.raises(asyncpg.UniqueViolationError):
        await owner.execute(evse.format("B"))


async def test_a_password_is_activated_once_and_ended_once(owner: Connection) -> None:
    await owner.execute("update stations.credentials set ended_at = now() where ended_at is null")
    await owner.execute(CREDENTIAL.format(HASH))
    newest = "(select max(id) from stations.credentials)"
    change = f"update stations.credentials set {{}} where id = {newest}"
    await owner.execute(change.format("activated_at = now()"))
    for again in ("activated_at = null", "activated_at = now() - interval '1 s'"):
        with pytest.raises(asyncpg.RestrictViolationError):
            await owner.execute(change.format(again))
    await owner.execute(change.format("ended_at = now()"))
    for again in ("ended_at = null", "ended_at = now() + interval '1 s'"):
        with pytest.raises(asyncpg.RestrictViolationError):
            await owner.execute(change.format(again))


async def test_a_closed_connection_stays_closed(owner: Connection) -> None:
    close = "update stations.connections set closed_at = now(), close_reason = 'lost'"
    await owner.execute(close)
    for change in (close, "update stations.connections set closed_at = null, close_reason = null"):
        with pytest.raises(asyncpg.RestrictViolationError):
            await owner.execute(change)


async def test_a_newer_socket_takes_over_and_the_old_one_changes_nothing(
    owner: Connection,
) -> None:
    await owner.execute(
        "update stations.connections set closed_at = now(), close_reason = 'replaced'"
    )
    await owner.execute(CONNECT)
    await owner.execute(
        "update stations.sockets set node = 'n2', epoch = (select max(id) from"
        " stations.connections)"
    )
    with pytest.raises(asyncpg.RestrictViolationError):
        await owner.execute(
            "update stations.sockets set node = 'n1', epoch = (select min(id) from"
            " stations.connections)"
        )


@pytest.mark.parametrize("statement", [CONNECT, QUEUE])
async def test_a_retired_station_gets_no_connection_and_no_command(
    owner: Connection, operator: Operator, statement: str
) -> None:
    await operator.retire("B")
    with pytest.raises(asyncpg.RestrictViolationError):
        await owner.execute(statement.replace("'A'", "'B'"))


class TestCommands:
    async def test_one_is_in_flight_at_a_time(self, owner: Connection) -> None:
        await owner.execute(QUEUE)
        await owner.execute(SEND.format("min"))
        with pytest.raises(asyncpg.UniqueViolationError):
            await owner.execute(SEND.format("max"))

    @pytest.mark.parametrize("state", ["accepted", "refused", "timed_out"])
    async def test_a_sent_one_ends_and_stays_ended(self, owner: Connection, state: str) -> None:
        await owner.execute(SEND.format("max"))
        await owner.execute(END.format(state))
        back = "update stations.commands set ended_at = null, state = "
        for change in (
            f"{back} 'sent'", f"{back} 'queued', sent_at = null, epoch = null",
            END.format("timed_out"),
        ):  # fmt: skip
            with pytest.raises(asyncpg.RestrictViolationError):
                await owner.execute(change)

    async def test_a_reply_may_come_after_the_time_out(self, owner: Connection) -> None:
        await owner.execute(SEND.format("max"))
        await owner.execute(END.format("timed_out"))
        await owner.execute(END.format("accepted"))
        with pytest.raises(asyncpg.RestrictViolationError):
            await owner.execute(END.format("refused"))

    @pytest.mark.parametrize("state", ["accepted", "refused"])
    async def test_one_that_was_not_sent_has_no_reply(self, owner: Connection, state: str) -> None:
        with pytest.raises(asyncpg.RestrictViolationError):
            await owner.execute(END.format(state))
        await owner.execute(END.format("timed_out"))
        with pytest.raises(asyncpg.PostgresError):
            await owner.execute(END.format(state))

    async def test_the_socket_it_was_sent_on_stays(self, owner: Connection) -> None:
        await owner.execute(SEND.format("max"))
        with pytest.raises(asyncpg.RestrictViolationError):
            await owner.execute(END.format("accepted") + ", sent_at = now() - interval '1 s'")


@pytest.mark.parametrize(
    "statement",
    [
        "update stations.stations set is_simulated = true",
        "delete from stations.stations",
        "update stations.names set name = 'x'",
        "update stations.credentials set secret_sha256 = ''",
        "delete from stations.connections",
        "delete from stations.status_log",
        "update stations.commands set payload = '{}'",
        "truncate stations.unknown_stations",
    ],
)
async def test_the_processes_have_no_right_to_it(db: Database, statement: str) -> None:
    async with db.connection() as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
