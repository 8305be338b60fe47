"""What the old live sockets' loop heard of while it read, and what a failed read was about."""

import asyncio
from uuid import UUID

import pytest
from pydantic import SecretStr

from evpower.api.legacy.location_feed import LocationFeed
from evpower.api.legacy.session_changes import SessionChanges
from evpower.api.legacy.station_board import Board, StationBoard
from evpower.charging import SESSION_CHANGED
from evpower.foundation.db import Connection, Database
from evpower.identity import Access
from evpower.identity.tokens import TokenVerifier
from tests.api.charging_scenario import Ride
from tests.api.scenario import ISSUER, SECRET, Api, Turning, token
from tests.api.stations_scenario import Site, serial
from tests.api.test_location_changes import messages
from tests.api.test_location_feed import Wire
from tests.waiting import patient_http, until


class Setting:
    """A driver at a station, with a socket that has signed in. Nothing is due by the clock."""

    def __init__(self, ride: Ride) -> None:
        api = ride.api
        self.ride, self.feed, self.wire = ride, LocationFeed(), Wire()
        now_s = Turning()
        self.board = StationBoard(api.db, api.clock, now_s=now_s)
        verifier = TokenVerifier(
            issuer_url=ISSUER, http=patient_http(), hs256_secret=SecretStr(SECRET)
        )
        self.changes = SessionChanges(
            self.feed, self.board, api.db, Access(api.db, verifier), api.bus, api.clock,
            now_s=now_s,
        )  # fmt: skip

    async def sign_in(self) -> None:
        viewer = self.feed.join(self.wire)
        claims = await self.changes.sign_in(token(self.ride.client))
        assert self.feed.sign_in(viewer, claims.sub, claims.expires_at) == ""

    def events(self) -> list[str]:
        return [message["event"] for message in messages(self.wire)]


@pytest.fixture
async def setting(api: Api, db: Database, owner: Connection, client_id: UUID) -> Setting:
    ride = Ride(api, owner, Site(db, api.clock), client_id)
    await ride.open(names=serial("SN-1"))
    return Setting(ride)


async def test_a_change_during_a_read_is_read_next(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    ride = setting.ride
    await setting.sign_in()
    session = await ride.started()
    stop = asyncio.Event()
    running = asyncio.create_task(setting.changes.loop().run(stop))
    try:
        await until(lambda: setting.events() == ["started"])
        transaction = await ride.begin(session)
        await until(lambda: setting.events() == ["started", "started"])

        async def end_first() -> Board:
            monkeypatch.undo()
            await ride.end(transaction, 6250)
            return await setting.board.get()

        monkeypatch.setattr(setting.board, "get", end_first)
        ride.api.bus.publish(SESSION_CHANGED, UUID(session))
        await until(lambda: setting.events()[2:] == ["stopped"], "the end was never sent")
    finally:
        stop.set()
        await running


async def test_what_a_failed_read_was_about_is_read_again(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> Board:
        raise OSError("the board can't be read")

    await setting.ride.started()
    await setting.sign_in()
    monkeypatch.setattr(setting.board, "get", fail)
    with pytest.raises(OSError, match="board"):
        await setting.changes.send()
    assert setting.events() == []
    monkeypatch.undo()
    await setting.changes.send()
    assert setting.events() == ["started"]
