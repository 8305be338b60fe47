"""A command that no station got ends its session, in the same transaction."""

from datetime import timedelta

from evpower import charging, identity
from evpower.bootstrap.commands import commands_ended
from evpower.config import Settings
from evpower.foundation.bus import LocalBus, Topic
from evpower.foundation.db import Connection, Database
from evpower.stations.jobs import end_commands
from tests.charging.site import Site


async def test_an_expired_remote_start_ends_its_session(db: Database, owner: Connection) -> None:
    site = Site(db, owner)
    await site.open()
    client = await site.driver()
    started = await site.start(client)
    bus, published = LocalBus(), set[tuple[Topic, object]]()
    bus.subscribe(lambda topic, key: published.add((topic, key)))
    ended = commands_ended(Settings.model_construct())
    await end_commands(db, bus, site.now + timedelta(seconds=59), ended)
    assert published == set()
    await end_commands(db, bus, site.now + timedelta(seconds=60), ended)
    row = await owner.fetchrow(
        "select state, start_failure from charging.sessions where id = $1", started.session_id
    )
    assert tuple(row or ()) == ("failed", "not_delivered")
    assert {(charging.SESSION_CHANGED, started.session_id), (identity.CLIENT_CHANGED, client)} <= (
        published
    )
