"""What the old live sockets are sent of their driver's sessions, as they change."""

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest
from pydantic import SecretStr

from evpower.api.legacy.location_feed import LocationFeed, Viewer
from evpower.api.legacy.session_changes import SessionChanges
from evpower.api.legacy.station_board import StationBoard
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Forbidden, Unauthenticated
from evpower.identity import CLIENT_CHANGED, Access
from evpower.identity.tokens import TokenVerifier
from tests.api.charging_scenario import Ride
from tests.api.scenario import ISSUER, SECRET, Api, Turning, token
from tests.api.stations_scenario import Site, serial
from tests.api.test_location_changes import messages
from tests.api.test_location_feed import Wire
from tests.old_api.golden_answers import compare
from tests.waiting import patient_http, until


class Sockets:
    """The old feed beside a driver and a station."""

    def __init__(self, ride: Ride) -> None:
        self.ride, self.now_s, self.feed = ride, Turning(), LocationFeed()
        api = ride.api
        verifier = TokenVerifier(
            issuer_url=ISSUER, http=patient_http(), hs256_secret=SecretStr(SECRET)
        )
        board = StationBoard(api.db, api.clock, now_s=self.now_s)
        self.changes = SessionChanges(
            self.feed, board, api.db, Access(api.db, verifier), api.bus, api.clock,
            now_s=self.now_s,
        )  # fmt: skip

    async def phone(self, client: UUID | None = None, *channels: str) -> tuple[Viewer, Wire]:
        """A socket that has signed in as a client, and has these channels too."""
        wire = Wire()
        viewer = self.feed.join(wire)
        if client is not None:
            claims = await self.changes.sign_in(token(client))
            assert self.feed.sign_in(viewer, claims.sub, claims.expires_at) == ""
        for channel in channels:
            self.feed.subscribe(viewer, channel)
        return viewer, wire

    async def send(self) -> None:
        """What the loop does after its period."""
        self.now_s.at_s += 5
        await self.changes.send()


@pytest.fixture
async def sockets(api: Api, db: Database, owner: Connection, client_id: UUID) -> Sockets:
    ride = Ride(api, owner, Site(db, api.clock), client_id)
    await ride.open(names=serial("SN-1"))
    return Sockets(ride)


async def test_the_course_of_a_session(sockets: Sockets) -> None:
    ride = sockets.ride
    wire = (await sockets.phone(ride.client))[1]
    session = await ride.started(energy_kwh=20)
    await sockets.send()
    transaction = await ride.begin(session)
    await sockets.send()
    await ride.owner.execute(
        "update charging.sessions set energy_wh = 5250, cost_minor = 7588 where id = $1",
        UUID(session),
    )
    ride.forward(minutes=20)
    await ride.progress(session, energy_wh=5250, cost_minor=7588, register_wh=6250)
    await sockets.send()
    await sockets.send()
    await ride.end(transaction, 6250)
    await sockets.send()
    course = messages(wire)
    assert [message["event"] for message in course] == [
        "started", "started", "meter_update", "stopped",
    ]  # fmt: skip
    compare("v1/ws/locations/own_session", course)


async def test_a_session_that_never_charged_is_an_error(sockets: Sockets) -> None:
    wire = (await sockets.phone(sockets.ride.client))[1]
    session = await sockets.ride.started()
    await sockets.send()
    await sockets.ride.stop(session)
    await sockets.send()
    [_, ended] = messages(wire)
    assert (ended["event"], ended["status"], ended["amount"]) == ("error", "error", 0.0)


async def test_only_its_client_hears_of_it(sockets: Sockets) -> None:
    ride = sockets.ride
    other = await ride.api.new_client()
    channels = (f"client_sessions:{ride.client}", "station_sessions:EVP-1", "station:EVP-1", "all")
    stranger = (await sockets.phone(None, *channels))[1]
    neighbour = (await sockets.phone(other, *channels))[1]
    own = (await sockets.phone(ride.client))[1]
    await ride.started()
    await sockets.send()
    assert len(messages(own)) == 1
    assert messages(stranger) == messages(neighbour) == []


async def test_the_station_s_channel_by_each_of_its_names(sockets: Sockets) -> None:
    ride = sockets.ride
    wires = {
        name: (await sockets.phone(ride.client, f"station_sessions:{name}"))
        for name in ("EVP-1", "SN-1", "EVP-2")
    }
    for viewer, _ in wires.values():
        sockets.feed.unsubscribe(viewer, f"client_sessions:{ride.client}")
    await ride.started()
    await sockets.send()
    assert {name: len(messages(wire)) for name, (_, wire) in wires.items()} == {
        "EVP-1": 1, "SN-1": 1, "EVP-2": 0,
    }  # fmt: skip


async def test_who_signs_in_later_is_sent_how_it_stands(sockets: Sockets) -> None:
    ride = sockets.ride
    await sockets.phone(ride.client)
    await ride.started()
    await sockets.send()
    later = (await sockets.phone(ride.client))[1]
    await sockets.changes.send()
    assert [message["event"] for message in messages(later)] == ["started"]


async def test_a_sign_in_that_was_refused_is_forgotten(sockets: Sockets) -> None:
    """Its token is right, but no socket was let in with it."""
    client = sockets.ride.client
    await sockets.phone(client)
    await sockets.changes.sign_in(token(await sockets.ride.api.new_client()))
    await sockets.send()
    assert not sockets.changes._joined


async def test_an_old_session_is_no_news(sockets: Sockets) -> None:
    ride = sockets.ride
    session = await ride.started()
    await ride.stop(session)
    ride.api.clock.ahead += timedelta(hours=2)
    wire = (await sockets.phone(ride.client))[1]
    await sockets.send()
    assert messages(wire) == []


async def test_a_closed_client_is_sent_no_more(sockets: Sockets) -> None:
    ride = sockets.ride
    wire = (await sockets.phone(ride.client))[1]
    stop = asyncio.Event()
    running = asyncio.create_task(sockets.changes.loop().run(stop))
    try:
        await until(lambda: len(ride.api.bus._listeners) > 1, "the loop does not listen")
        await ride.owner.execute(
            "update identity.clients set status = 'closed' where id = $1", ride.client
        )
        ride.api.bus.publish(CLIENT_CHANGED, ride.client)
        await until(lambda: sockets.feed.clients == ())
    finally:
        stop.set()
        await running
    assert messages(wire) == [{"type": "error", "message": "client_closed"}]
    with pytest.raises(Forbidden, match="closed"):
        await sockets.changes.sign_in(token(ride.client))


async def test_a_notified_change_is_sent_by_the_loop(sockets: Sockets) -> None:
    """Without the period: the clock of the comparison stands still."""
    ride = sockets.ride
    wire = (await sockets.phone(ride.client))[1]
    stop = asyncio.Event()
    running = asyncio.create_task(sockets.changes.loop().run(stop))
    try:
        await until(lambda: not sockets.changes._joined)
        session = await ride.started()
        await until(lambda: [message["event"] for message in messages(wire)] == ["started"])
        await ride.begin(session)
        await until(lambda: len(messages(wire)) == 2, "the start was never sent")
    finally:
        stop.set()
        await running


@pytest.mark.parametrize("caller", ["operator", "service"])
async def test_only_drivers_sign_in(sockets: Sockets, caller: str) -> None:
    api = sockets.ride.api
    headers = api.operator if caller == "operator" else api.service
    credential = next(iter(headers.values())).removeprefix("Bearer ")
    with pytest.raises(Forbidden):
        await sockets.changes.sign_in(credential)


async def test_a_token_that_has_ended_is_refused(sockets: Sockets) -> None:
    with pytest.raises(Unauthenticated, match="expired"):
        await sockets.changes.sign_in(token(sockets.ride.client, exp=1))


async def test_without_a_signed_in_socket_nothing_is_read(sockets: Sockets) -> None:
    await sockets.phone()
    await sockets.ride.api.db.close()
    stop = asyncio.Event()
    loop = sockets.changes.loop()
    running = asyncio.create_task(loop.run(stop))
    await until(lambda: loop.record.finished_at is not None)
    assert loop.record.error == ""
    stop.set()
    await running
