"""The puller takes every change of Supabase once, in order, whatever fails on the way."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID, uuid4

import httpx
import pytest

from evpower.config import Settings
from evpower.foundation.bus import EVERYTHING, LocalBus
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Forbidden
from evpower.foundation.loops import Pause
from evpower.identity import CLIENT_CHANGED, Claims, Profile, ensure_client, require_active
from evpower.sync import Puller, Relay, TargetRefuses, TargetUnavailable, status
from evpower.sync.inbound.apply_user import apply_user
from evpower.sync.inbound.model_changes import read_changes, read_users
from evpower.sync.inbound.remote_users import RemoteUser, parse, parse_time
from evpower.sync.model import SUPABASE_CHANGED
from evpower.sync.supabase_rpc import Rpc
from tests.sync.changes_log import until_visible
from tests.sync.conftest import rpc_to
from tests.sync.pulling import (
    DrainsAll,
    HandClock,
    Scripted,
    Supabase,
    client_here,
    counted,
    emptied,
    page,
    person,
)
from tests.sync.scenario import Scenario, Target
from tests.waiting import WAIT_LIMIT_S, until


@pytest.fixture
async def supabase(
    fresh_project: Target, there_fresh: Connection, http: httpx.AsyncClient
) -> Supabase:
    await emptied(fresh_project, there_fresh)
    return Supabase(fresh_project, there_fresh, http)


@pytest.fixture
def rpc(http: httpx.AsyncClient, supabase: Supabase) -> Scripted:
    """The real one, which a test may make answer something else."""
    return Scripted(rpc_to(http, supabase.target))


@pytest.fixture
def puller(db: Database, rpc: Scripted, settings: Settings, supabase: Supabase) -> Puller:
    return DrainsAll(db, rpc, settings, supabase.psql)


async def cursor(scenario: Scenario) -> tuple[object, ...]:
    row = await scenario.db.fetchrow("select xid, seq, scanning from sync.cursors")
    assert row is not None
    return tuple(row)


async def names(scenario: Scenario) -> list[str]:
    rows = await scenario.db.fetch("select name from identity.clients order by name")
    return [row["name"] for row in rows]


class TestReading:
    def test_both_forms_of_time_are_read(self) -> None:
        at = datetime(2026, 11, 22, 21, 8, 55, 457253, tzinfo=UTC)
        assert parse_time("2026-11-22 21:08:55.457253+00") == at
        assert parse_time("2026-11-22T21:08:55.457253+00:00") == at
        assert parse_time("2026-11-22T21:08:55.457253Z") == at
        assert parse_time("2026-11-23T03:08:55.457253+06:00") == at
        assert parse_time("2026-11-22T21:08:55.457253") == at
        assert parse_time("infinity") is None
        assert parse_time(7) is None

    @pytest.mark.parametrize(
        "raw",
        [
            None, "x", [], {}, {"id": None}, {"id": 7}, {"id": "client_007"},
            {"id": str(UUID(int=0))}, {"id": "{" + str(uuid4()) + "}"},
            {"id": "0B5A1D7E-0000-4000-8000-0000000000AA"},
        ],
    )  # fmt: skip
    def test_an_id_that_is_not_ours_is_no_one(self, raw: object) -> None:
        assert parse(raw) is None

    def test_unknown_fields_and_odd_values_do_no_harm(self) -> None:
        raw = person(
            client={"email": 7, "phone": ["x"], "name": {"a": 1}, "status": None, "more": True},
            user={"metadata": None, "email": "A@Example.KG", "extra": []},
        )
        read = parse({**raw, "beyond": 1})
        assert read is not None
        assert read.row is not None
        assert (read.row.status, read.profile.email, read.profile.name) == ("", None, None)
        assert read.unusable == ("email", "phone")
        assert read.user is not None
        assert read.user.profile.email == "a@example.kg"

    def test_the_row_counts_before_the_user_even_where_it_is_empty(self) -> None:
        user = {"email": "user@example.kg", "phone": "996555123456", "metadata": {"name": "User"}}
        both = parse(person(client={"name": "Row"}, user=user))
        alone = parse(person(user=user))
        assert both is not None
        assert alone is not None
        assert (both.profile.email, both.profile.phone, both.profile.name) == (None, None, "Row")
        assert (alone.profile.email, alone.profile.phone) == ("user@example.kg", "+996555123456")
        assert alone.profile.name == "User"

    @pytest.mark.parametrize(
        "form", ["+996555123456", "996555123456", "0555123456", "0555 123-456"]
    )
    def test_phones_of_a_row_are_read_in_every_form(self, form: str) -> None:
        read = parse(person(client={"phone": form}))
        assert read is not None
        assert read.profile.phone == "+996555123456"

    @pytest.mark.parametrize("answer", [None, [], "x", {}, {"changes": [{}], "people": 7}])
    def test_an_answer_in_another_form_is_no_answer(self, answer: object) -> None:
        with pytest.raises(TargetUnavailable):
            read_changes(answer)
        with pytest.raises(TargetUnavailable):
            read_users(answer)


async def test_a_sign_up_becomes_a_client_with_a_wallet(
    supabase: Supabase, puller: Puller, scenario: Scenario
) -> None:
    driver = await supabase.sign_up(phone="+996555123456", name="Aida")
    pulled = await puller.drain()
    assert (pulled.created, pulled.failed, pulled.error) == (1, 0, None)
    here = await client_here(scenario.db, driver.id)
    assert (here["email"], here["phone"], here["name"], here["origin"]) == (
        driver.email,
        "+996555123456",
        "Aida",
        "supabase",
    )
    wallets = await scenario.db.fetchval("select count(*) from wallet.wallets")
    assert wallets == 1


@pytest.mark.parametrize("brings", ["ban", "blocked", "inactive", "suspended"])
async def test_a_new_client_who_may_not_spend_may_not_from_the_first_page_on(
    supabase: Supabase, puller: Puller, scenario: Scenario, brings: str
) -> None:
    await puller.drain()  # the first start's look at all is over
    driver = await supabase.sign_up()
    if brings == "ban":
        await supabase.change_user(driver.id, ban_duration="24h")
    else:
        await supabase.insert_row(driver.id, status=brings)
    await puller.drain()
    with pytest.raises(Forbidden):
        await require_active(scenario.db, driver.id)


async def test_pages_are_pulled_until_nothing_is_left(
    supabase: Supabase, puller: Puller, scenario: Scenario
) -> None:
    await puller.drain()
    await supabase.psql.execute(
        "insert into public.clients (id, name) select gen_random_uuid(), 'n' || i"
        " from generate_series(1, 450) i"
    )
    pulled = await puller.drain()
    assert (pulled.changes, pulled.created) == (450, 450)
    assert await scenario.db.fetchval("select count(*) from identity.clients") == 450
    again = await puller.drain()
    assert (again.changes, again.applied) == (0, 0)


async def test_the_first_start_looks_at_everyone_once(
    supabase: Supabase, puller: Puller, scenario: Scenario, rpc: Scripted
) -> None:
    """A user from before the log has no row in it."""
    client = uuid4()
    await supabase.insert_row(client, name="Before")
    driver = await supabase.sign_up()
    await supabase.psql.execute("truncate evpower.changes")
    pulled = await puller.drain()
    assert (pulled.changes, pulled.scanned, pulled.created) == (0, 2, 2)
    await client_here(scenario.db, client)
    await client_here(scenario.db, driver.id)
    requests = rpc.calls.count("evpower_people")
    await puller.drain()
    assert rpc.calls.count("evpower_people") == requests


async def test_a_full_scan_continues_where_it_was_stopped(db: Database, settings: Settings) -> None:
    rpc = Scripted()
    people = [person(client={"name": f"n{n}"}) for n in range(4)]
    rpc.answers["evpower_people"] = [
        {"people": people[:2], "next": people[1]["id"]},
        TargetUnavailable("down"),
        {"people": people[2:], "next": None},
    ]
    clock = HandClock()
    stopped = await DrainsAll(db, rpc, settings, None, clock).drain()
    assert (stopped.scanned, stopped.error) == (2, "down")
    async with db.connection() as connection:
        now = (await status(connection)).inbound
    assert (now.scanning, now.scanned, now.source) == (True, 2, "down")
    bodies: list[bytes] = []
    rest = await DrainsAll(db, _Seen(rpc, bodies), settings, None, clock).drain()
    assert (rest.scanned, rest.error) == (2, None)
    assert any(people[1]["id"].encode() in body for body in bodies), "it began anew"
    async with db.connection() as connection:
        now = (await status(connection)).inbound
    assert (now.scanning, now.scanned, now.source) == (False, 4, "up")


class _Seen:
    """Passes calls on and keeps what was asked."""

    def __init__(self, inner: Rpc, bodies: list[bytes]) -> None:
        self._inner = inner
        self._bodies = bodies

    async def call(self, function: str, body: bytes) -> object:
        self._bodies.append(body)
        return await self._inner.call(function, body)


async def test_a_restored_supabase_makes_everyone_be_looked_at_again(
    supabase: Supabase, puller: Puller, scenario: Scenario
) -> None:
    driver = await supabase.sign_up(name="Aida")
    await puller.drain()
    assert (await cursor(scenario))[0] is not None
    # A backup older than EvPower's cursor: the log ends before it, the row has an older name.
    await supabase.update_row(driver.id, name="As it was") if await supabase.row(
        driver.id
    ) else await supabase.insert_row(driver.id, email=driver.email, name="As it was")
    await supabase.psql.execute("truncate evpower.changes")
    pulled = await puller.drain()
    assert (pulled.reset, pulled.scanned, pulled.error) == (True, 1, None)
    assert await cursor(scenario) == (None, None, False)
    assert (await client_here(scenario.db, driver.id))["name"] == "As it was"
    async with puller._db.connection() as connection:
        assert (await status(connection)).inbound.resets == 1


async def test_a_supabase_restored_empty_closes_no_one(
    supabase: Supabase, puller: Puller, scenario: Scenario
) -> None:
    drivers = [await supabase.sign_up() for _ in range(3)]
    await puller.drain()
    await emptied(supabase.target, supabase.psql)
    pulled = await puller.drain()
    assert (pulled.reset, pulled.closed) == (True, 0)
    for driver in drivers:
        assert (await client_here(scenario.db, driver.id))["status"] == "active"


async def test_a_top_up_that_was_relayed_does_not_come_back(
    supabase: Supabase,
    puller: Puller,
    scenario: Scenario,
    db: Database,
    http: httpx.AsyncClient,
    settings: Settings,
) -> None:
    relay = Relay(db, rpc_to(http, supabase.target), settings, utc_now)
    driver = await supabase.sign_up()
    await puller.drain()
    await relay.drain()
    await puller.drain()
    before = await supabase.changes()
    await scenario.top_up(driver.id, 10_000)
    await scenario.session(driver.id, cost_minor=4_000)
    assert (await relay.drain()).transactions == 2
    assert await supabase.changes() == before
    assert (await puller.drain()).changes == 0


async def test_a_change_of_a_long_transaction_is_not_skipped(
    supabase: Supabase, puller: Puller, scenario: Scenario
) -> None:
    first, second = uuid4(), uuid4()
    await supabase.insert_row(first, name="a")
    await supabase.insert_row(second, name="b")
    await puller.drain()
    async with supabase.target.psql() as late:
        await late.execute("begin")
        await late.execute("update public.clients set name = 'late' where id = $1", first)
        await supabase.update_row(second, name="early")
        blocked = await puller.pull_once()  # it waits for the older one
        assert (blocked.changes, blocked.is_blocked) == (0, True)
        await late.execute("commit")
    assert (await puller.drain()).changes == 2
    assert await names(scenario) == ["early", "late"]


async def test_two_pullers_take_each_change_once(
    supabase: Supabase,
    scenario: Scenario,
    db: Database,
    http: httpx.AsyncClient,
    settings: Settings,
) -> None:
    to_target = rpc_to(http, supabase.target)
    pullers = [DrainsAll(db, to_target, settings, None) for _ in range(2)]
    await pullers[0].drain()
    await supabase.psql.execute(
        "insert into public.clients (id, name) select gen_random_uuid(), 'n' || i"
        " from generate_series(1, 420) i"
    )
    await until_visible(supabase.psql)
    both = await asyncio.gather(*(puller.drain() for puller in pullers))
    assert sum(result.changes for result in both) == 420
    assert sum(result.created for result in both) == 420
    assert await scenario.db.fetchval("select count(*) from identity.clients") == 420


async def test_an_old_page_is_thrown_away_after_a_newer_one(
    supabase: Supabase, rpc: Scripted, scenario: Scenario, db: Database, settings: Settings
) -> None:
    """A read; B read and applied what came after; A goes on."""
    client = uuid4()
    slow = DrainsAll(db, rpc, settings, supabase.psql)
    quick = DrainsAll(db, rpc.inner or rpc, settings, supabase.psql)
    await quick.drain()
    await supabase.insert_row(client, name="old")
    await until_visible(supabase.psql)

    async def read_then_wait() -> object:
        assert rpc.inner is not None
        old = await rpc.inner.call("evpower_changes", b'{"payload":{"after":null,"limit":200}}')
        await supabase.update_row(client, name="new")
        assert (await quick.drain()).error is None
        return old

    rpc.answers["evpower_changes"] = [read_then_wait]
    pulled = await slow.pull_once()
    assert (pulled.discarded, pulled.changes) == (1, 0)
    assert (await client_here(scenario.db, client))["name"] == "new"
    after = await cursor(scenario)
    assert (await slow.drain()).changes == 0
    assert await cursor(scenario) == after


async def test_an_old_page_of_a_full_scan_is_discarded_too(
    supabase: Supabase, rpc: Scripted, scenario: Scenario, db: Database, settings: Settings
) -> None:
    client = uuid4()
    slow = DrainsAll(db, rpc, settings, supabase.psql)
    quick = DrainsAll(db, rpc.inner or rpc, settings, supabase.psql)
    await quick.drain()
    await supabase.insert_row(client, name="old")
    await quick.drain()

    async def read_then_wait() -> object:
        assert rpc.inner is not None
        old = await rpc.inner.call("evpower_people", b'{"payload":{"after":null,"limit":200}}')
        await supabase.update_row(client, name="new")
        await until_visible(supabase.psql)
        assert (await quick.pull_once()).changes == 1
        return old

    rpc.answers["evpower_people"] = [read_then_wait]
    walked = await slow.scan_all()
    assert (walked.discarded, walked.error) == (1, None)
    assert walked.scanned >= 1
    assert (await client_here(scenario.db, client))["name"] == "new"


@asynccontextmanager
async def failing(scenario: Scenario, client: UUID) -> AsyncGenerator[None]:
    """The database refuses this client for an unforeseen reason."""
    await scenario.db.execute(
        "create function public.surprise() returns trigger language plpgsql as"
        f" $$ begin if new.id = '{client}' then raise exception 'surprise'; end if;"
        " return new; end $$;"
        " create trigger surprise before insert or update on identity.clients"
        " for each row execute function public.surprise()"
    )
    yield
    await scenario.db.execute("drop trigger surprise on identity.clients")


async def test_a_user_that_fails_delays_no_other(
    supabase: Supabase, rpc: Scripted, scenario: Scenario, db: Database, settings: Settings
) -> None:
    clock = HandClock()
    puller = DrainsAll(db, rpc, settings, supabase.psql, clock)
    await puller.drain()
    bad, good = uuid4(), uuid4()
    async with failing(scenario, bad):
        await supabase.insert_row(bad, name="bad")
        await supabase.insert_row(good, name="good")
        pulled = await puller.drain()
        assert (pulled.changes, pulled.created, pulled.failed) == (2, 1, 1)
        assert await names(scenario) == ["good"]
        async with db.connection() as connection:
            now = (await status(connection)).inbound
        assert (now.failed, now.failed_users[0].client_id) == (1, str(bad))
        assert now.failed_users[0].reason == "RaiseError: surprise"
        clock.move(60)
        assert (await puller.drain()).failed == 1
        attempts = await scenario.db.fetchval("select attempts from sync.failed_users")
        assert attempts == 2
        assert (await puller.drain()).failed == 0, "it is not due"
    clock.move(600)
    await puller.drain()
    assert await names(scenario) == ["bad", "good"]
    assert await scenario.db.fetchval("select count(*) from sync.failed_users") == 0


async def test_a_deletion_that_failed_is_not_forgotten_by_a_later_change(
    supabase: Supabase, rpc: Scripted, scenario: Scenario, db: Database, settings: Settings
) -> None:
    puller = DrainsAll(db, rpc, settings, supabase.psql)
    driver = await supabase.sign_up(name="Aida")
    await supabase.insert_row(driver.id, name="Aida")
    await puller.drain()
    async with failing(scenario, driver.id):
        await supabase.delete_user(driver.id)
        assert (await puller.drain()).failed == 1
    await supabase.update_row(driver.id, name="Later")
    pulled = await puller.drain()
    assert (pulled.closed, pulled.failed) == (1, 0)
    assert (await client_here(scenario.db, driver.id))["status"] == "closed"


async def test_supabase_down_is_asked_seldom_and_pulled_when_it_is_back(
    db: Database, settings: Settings
) -> None:
    rpc, clock = Scripted(), HandClock()
    client = person(client={"name": "Aida"})
    rpc.answers["evpower_changes"] = [
        TargetUnavailable("503"), TargetRefuses("404 PGRST202"), page(client),
    ]  # fmt: skip
    puller = DrainsAll(db, rpc, settings, None, clock)
    assert (await puller.drain()).error == "503"
    assert (await puller.drain()).error == "503"
    assert len(rpc.calls) == 1, "the breaker is open"
    clock.move(20)
    assert (await puller.drain()).error == "404 PGRST202"
    async with db.connection() as connection:
        now = (await status(connection)).inbound
    assert (now.source, now.source_error) == ("misconfigured", "404 PGRST202")
    clock.move(20)
    pulled = await puller.drain()
    assert (pulled.error, pulled.changes, pulled.created) == (None, 1, 1)


class CountsItsWaits(Puller):
    """How often it had nothing to do."""

    waits = 0

    def _pause(self, *, periodic: bool) -> Pause:
        self.waits += 1
        return super()._pause(periodic=periodic)


async def test_a_notification_makes_a_waiting_puller_pull(
    supabase: Supabase, rpc: Scripted, scenario: Scenario, db: Database, settings: Settings
) -> None:
    bus, stop = LocalBus(), asyncio.Event()
    puller = CountsItsWaits(db, rpc, settings, utc_now, bus)
    running = asyncio.create_task(puller.run(stop, periodic=False))
    try:
        await until(lambda: puller.waits == 1)  # for an hour
        driver = await supabase.sign_up()
        await until_visible(supabase.psql)
        requests = len(rpc.calls)
        bus.publish(CLIENT_CHANGED, uuid4())  # a notification of EvPower's own
        assert not puller._wakeup.is_set
        assert len(rpc.calls) == requests, "nothing else wakes it"
        bus.publish(SUPABASE_CHANGED, EVERYTHING)
        await until(lambda: _is_known(scenario, driver.id))
    finally:
        stop.set()
        await asyncio.wait_for(running, WAIT_LIMIT_S)
    assert "evpower_people" not in rpc.calls, "a walk is for those who look by themselves"


async def test_without_any_notification_changes_arrive(
    supabase: Supabase, rpc: Scripted, scenario: Scenario, db: Database
) -> None:
    settings = Settings(_env_file=None, pull_poll_s=0.05)  # pyright: ignore[reportCallIssue]
    stop = asyncio.Event()
    running = asyncio.create_task(Puller(db, rpc, settings, utc_now).run(stop))
    try:
        driver = await supabase.sign_up()
        await until(lambda: _is_known(scenario, driver.id))
        await supabase.change_user(driver.id, user_metadata={"name": "Renamed"})
        await until(lambda: _is_named(scenario, driver.id, "Renamed"))
    finally:
        stop.set()
        await asyncio.wait_for(running, WAIT_LIMIT_S)


async def test_a_notification_before_the_change_is_visible_is_followed_by_another_read(
    db: Database, settings: Settings, scenario: Scenario
) -> None:
    """An older transaction blocks the change for a moment, and no second notification follows."""
    rpc, bus, stop = Scripted(), LocalBus(), asyncio.Event()
    running = asyncio.create_task(Puller(db, rpc, settings, utc_now, bus).run(stop, periodic=False))
    nothing = page() | {"held": True}
    try:
        await until(lambda: rpc.calls)
        someone = person(client={"name": "Aida"})
        rpc.answers["evpower_changes"] = [nothing, nothing, page(someone)]
        bus.publish(SUPABASE_CHANGED, EVERYTHING)
        await until(lambda: _is_known(scenario, UUID(someone["id"])))
    finally:
        stop.set()
        await asyncio.wait_for(running, WAIT_LIMIT_S)


async def test_a_change_blocked_behind_another_does_not_wait_for_the_next_notification(
    db: Database, settings: Settings, scenario: Scenario
) -> None:
    rpc, bus, stop = Scripted(), LocalBus(), asyncio.Event()
    running = asyncio.create_task(Puller(db, rpc, settings, utc_now, bus).run(stop, periodic=False))
    try:
        await until(lambda: rpc.calls)
        first, second = person(client={"name": "Aida"}), person(client={"name": "Bek"})
        rpc.answers["evpower_changes"] = [page(first) | {"held": True}, page(second, seq=2)]
        bus.publish(SUPABASE_CHANGED, EVERYTHING)
        await until(lambda: _is_known(scenario, UUID(second["id"])))
        assert await _is_known(scenario, UUID(first["id"]))
    finally:
        stop.set()
        await asyncio.wait_for(running, WAIT_LIMIT_S)


async def test_taken_changes_are_pruned_but_the_last(
    supabase: Supabase, puller: Puller, scenario: Scenario
) -> None:
    for n in range(3):
        await supabase.insert_row(uuid4(), name=f"n{n}")
    assert await puller.prune() == 0, "nothing was taken"
    await puller.drain()
    await supabase.psql.execute("update evpower.changes set at = now() - interval '8 days'")
    assert await puller.prune() == 2
    pulled = await puller.drain()
    assert (pulled.reset, pulled.changes) == (False, 0)
    assert (await cursor(scenario))[0] is not None


async def test_accepting_twice_changes_nothing(db: Database, scenario: Scenario) -> None:
    raw = parse(person(client={"name": "Aida", "email": "aida@example.kg"}, user={}))
    assert raw is not None
    async with db.transaction() as connection:
        first = await apply_user(connection, raw, user_deleted=False)
    await scenario.db.execute("delete from sync.pending")
    before = await client_here(scenario.db, raw.id)
    async with db.transaction() as connection:
        second = await apply_user(connection, raw, user_deleted=False)
    assert (first.outcome, second.outcome) == ("created", "same")
    assert dict(await client_here(scenario.db, raw.id)) == dict(before)
    assert await scenario.pending() == 0


async def test_someone_deleted_before_we_heard_of_them_never_becomes_an_open_client(
    supabase: Supabase, puller: Puller, scenario: Scenario, db: Database
) -> None:
    """The app's row is left behind, and the token is good for a while."""
    driver = await supabase.sign_up(name="Aida")
    await supabase.insert_row(driver.id, name="Aida", email=driver.email)
    await supabase.delete_user(driver.id)
    await puller.drain()
    await supabase.update_row(driver.id, name="Another name", status="blocked")
    async with db.transaction() as connection:
        claims = Claims(driver.id, "authenticated", utc_now(), Profile(email=driver.email), {})
        await ensure_client(connection, claims)
    await puller.drain()
    here = await client_here(scenario.db, driver.id)
    assert (here["status"], here["email"], here["name"]) == ("closed", None, None)


async def test_a_row_that_went_with_its_user_is_not_made_again(
    supabase: Supabase, puller: Puller, scenario: Scenario
) -> None:
    driver = await supabase.sign_up()
    await puller.drain()
    await supabase.psql.execute("delete from auth.users")
    await puller.drain()
    assert (await client_here(scenario.db, driver.id))["status"] == "closed"
    assert await scenario.pending() == 0


async def test_one_no_one_knows_is_no_one(db: Database, scenario: Scenario) -> None:
    async with db.transaction() as connection:
        done = await apply_user(connection, RemoteUser(uuid4()), user_deleted=False)
    assert done.outcome == "unknown"
    assert await scenario.db.fetchval("select count(*) from identity.clients") == 0


async def test_a_client_created_on_both_sides_at_once_is_counted(
    db: Database, scenario: Scenario
) -> None:
    """The token was faster: between the look and the insert."""
    raw = parse(person(client={"name": "Aida"}, user={}))
    assert raw is not None
    before = counted("concurrent_create")
    async with db.transaction() as holder:
        await holder.execute(
            "insert into identity.clients (id, origin) values ($1, 'token')", raw.id
        )

        async def take() -> None:
            async with db.transaction() as connection:
                done = await apply_user(connection, raw, user_deleted=False)
            assert done.conflicts == ("concurrent_create",)

        taking = asyncio.create_task(take())
        await until(lambda: _waits_for_a_lock(scenario))
    await taking
    assert (await client_here(scenario.db, raw.id))["name"] == "Aida"
    assert counted("concurrent_create") == before, "the caller counts, after the commit"


async def _is_known(scenario: Scenario, client: UUID) -> bool:
    return await scenario.db.fetchval(
        "select exists (select from identity.clients where id = $1)", client
    )


async def _is_named(scenario: Scenario, client: UUID, name: str) -> bool:
    current = await scenario.db.fetchval("select name from identity.clients where id = $1", client)
    return current == name


async def _waits_for_a_lock(scenario: Scenario) -> bool:
    return await scenario.db.fetchval(
        "select exists (select from pg_stat_activity where datname = current_database()"
        " and wait_event_type = 'Lock')"
    )
