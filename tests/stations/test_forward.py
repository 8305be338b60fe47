"""A station is forwarded to another CSMS, or is not, and each switch is in the audit."""

from datetime import timedelta

import asyncpg
import pytest

from evpower import stations
from evpower.cli.stations_report import station_lines
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Conflict, Invalid, NotFound
from tests.stations.scenario import NOW, Operator

URL = "wss://csms.example:8443/ocpp"


async def forward(db: Database, url: str | None, station: str = "evp-001") -> None:
    async with db.transaction() as connection:
        await stations.forward_station(connection, station=station, url=url, actor="aida")


async def targets(db: Database) -> dict[str, str]:
    async with db.connection() as connection:
        return await stations.forward_targets(connection, ["EVP-001", "EVP-002", "EVP-003"])


async def test_only_a_station_that_was_switched_is_forwarded(db: Database) -> None:
    operator = Operator(db)
    await operator.add("EVP-001")
    await operator.add("EVP-002")
    assert await targets(db) == {}
    await forward(db, URL + "/")
    assert await targets(db) == {"EVP-001": URL}
    assert (await operator.show("EVP-001")).station.forward_url == URL
    await forward(db, None)
    assert await targets(db) == {}


async def test_apps_see_a_forwarded_station_as_unavailable_at_once(db: Database) -> None:
    operator = Operator(db)
    await operator.add("EVP-001")
    async with db.transaction() as connection:
        await stations.open_connection(
            connection, "EVP-001", address="10.0.0.1", version="ocpp1.6", is_authenticated=True,
            node="node", now=NOW,
        )  # fmt: skip
        for connector in (1, 2):
            await stations.report_status(
                connection,
                stations.StatusReport(
                    "EVP-001", connector, "available", None, None, None, None, NOW
                ),
            )

    async def words() -> list[str]:
        view = await operator.show("EVP-001")
        return [view.status_of(connector, NOW) for connector in view.connectors]

    assert await words() == ["available", "available"]
    await forward(db, URL)
    assert await words() == ["unavailable", "unavailable"]
    assert not (await operator.show("EVP-001")).in_service
    assert "online, forwarded" in station_lines(await operator.show("EVP-001"), NOW)[0]


async def test_each_switch_is_in_the_audit_once(db: Database, owner: Connection) -> None:
    await Operator(db).add("EVP-001")
    for url in (URL, URL, None, None):
        await forward(db, url)
    rows = await owner.fetch(
        "select details->>'url' as url from identity.audit where action = 'station.forward'"
        " order by id"
    )
    assert [row["url"] for row in rows] == [URL, None]


@pytest.mark.parametrize(
    "url",
    [
        "https://csms.example/ocpp", "csms.example", "ws://", "ws:///ocpp", "wss://user:pw@host/x",
        "wss://host/x?token=1", "wss://host/x#y", "wss://ho st/x", "wss://" + "h" * 500, "",
    ],
)  # fmt: skip
async def test_what_is_no_address_of_a_csms_is_refused(
    db: Database, owner: Connection, url: str
) -> None:
    await Operator(db).add("EVP-001")
    with pytest.raises(Invalid) as refused:
        await forward(db, url)
    assert refused.value.code == "forward_url_invalid"
    with pytest.raises(asyncpg.CheckViolationError):
        await owner.execute("update stations.stations set forward_url = $1", url)


async def test_a_forwarded_station_gets_no_command_of_an_operator(db: Database) -> None:
    await Operator(db).add("EVP-001")
    await forward(db, URL)
    with pytest.raises(Conflict) as refused:
        async with db.transaction() as connection:
            await stations.request_command(
                connection, station="EVP-001", action="clear_cache", arguments={},
                expires_in=timedelta(minutes=1), now=NOW, actor="aida",
            )  # fmt: skip
    assert refused.value.code == "station_forwarded"


async def test_an_unknown_station_is_not_forwarded(db: Database) -> None:
    with pytest.raises(NotFound):
        await forward(db, URL)
