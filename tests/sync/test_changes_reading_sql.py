"""EvPower reads the change log: each change once, in whatever order transactions commit."""

import asyncio
import json
import random
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from evpower.foundation.db import Connection
from tests.sync.changes_log import Reader, as_auth, digits, forget, logged, make_row, make_user, rpc
from tests.sync.scenario import Target


@pytest.fixture
async def log(there: Connection) -> Connection:
    """The owner's connection, with nothing logged yet."""
    await forget(there)
    return there


class TestReading:
    """evpower_changes: every change once, in an order that skips none."""

    async def test_pages_in_order_with_users_as_they_are_now(self, log: Connection) -> None:
        keys = [await make_row(log, uuid4(), name="Before") for _ in range(5)]
        await log.execute(f"update public.clients set name = 'Now' where id = '{keys[0]}'")
        await log.execute(f"delete from public.clients where id = '{keys[1]}'")
        await Reader(log).read_until(7)
        reader = Reader(log, limit=3)
        first = await reader.read()
        assert (first["more"], first["reset"]) == (True, False)
        people = {user["id"]: user for user in first["people"]}
        assert set(people) == set(keys[:3])
        assert people[keys[0]]["client"]["name"] == "Now"
        assert people[keys[1]] == {"id": keys[1], "client": None, "user": None}
        second, third = await reader.read(), await reader.read()
        assert (second["more"], third["more"]) == (True, False)
        assert [(change["op"], change["id"]) for change in reader.seen] == [
            *(("insert", key) for key in keys),
            ("update", keys[0]),
            ("delete", keys[1]),
        ]
        assert [user["id"] for user in third["people"]] == [keys[1]]
        empty = await reader.read()
        assert (empty["changes"], empty["people"], empty["more"]) == ([], [], False)

    async def test_a_user_is_returned_once_a_page(self, log: Connection) -> None:
        key = await make_row(log, uuid4())
        for name in "abc":
            await log.execute(f"update public.clients set name = '{name}'")
        await Reader(log).read_until(4)
        page = await Reader(log).read()
        assert [user["id"] for user in page["people"]] == [key]

    async def test_transaction_that_began_later_and_committed_first_waits_for_the_other(
        self, log: Connection, target: Target
    ) -> None:
        reader = Reader(log)
        async with target.psql() as session, target.psql() as two:
            early, late = session.transaction(), two.transaction()
            await early.start()
            await session.fetchval("select pg_current_xact_id()")
            await late.start()
            second = await make_row(two, uuid4())  # takes the lower seq
            first = await make_row(session, uuid4())
            await late.commit()
            page = await reader.read()
            assert (page["changes"], page["held"]) == ([], True)
            waiting = await rpc(log, "evpower_webhook_status")
            assert (waiting["changes"], waiting["held_back"]) == (1, 1)
            await early.commit()
        await reader.read_until(2)
        assert reader.ids == [first, second]
        assert reader.seen[0]["seq"] > reader.seen[1]["seq"]
        assert (await reader.read())["held"] is False

    async def test_a_number_drawn_before_and_committed_after_is_not_skipped(
        self, log: Connection, target: Target
    ) -> None:
        reader = Reader(log)
        async with target.psql() as slow:
            transaction = slow.transaction()
            await transaction.start()
            lower = await make_row(slow, uuid4())
            higher = await make_row(log, uuid4())
            assert (await reader.read())["changes"] == []
            await transaction.commit()
        await reader.read_until(2)
        assert reader.ids == [lower, higher]

    async def test_rolled_back_change_is_no_change(self, log: Connection, target: Target) -> None:
        reader = Reader(log)
        async with target.psql() as other:
            transaction = other.transaction()
            await transaction.start()
            await make_row(other, uuid4())
            await transaction.rollback()
        key = await make_row(log, uuid4())
        await reader.read_until(1)
        assert reader.ids == [key]

    @pytest.mark.parametrize("seed", range(4))
    async def test_no_schedule_of_transactions_skips_a_change(
        self, log: Connection, target: Target, seed: int
    ) -> None:
        choose = random.Random(seed)
        others: list[Connection] = [await asyncpg.connect(target.dsn) for _ in range(4)]
        open_ones: dict[int, tuple[Any, list[str]]] = {}
        committed: set[str] = set()
        reader = Reader(log, limit=choose.randint(1, 4))
        try:
            for _ in range(80):
                n = choose.randrange(len(others))
                match choose.choice(["begin", "write", "write", "commit", "roll back", "read"]):
                    case "begin" if n not in open_ones:
                        transaction = others[n].transaction()
                        await transaction.start()
                        await others[n].fetchval("select pg_current_xact_id()")
                        open_ones[n] = (transaction, [])
                    case "write" if n in open_ones:
                        open_ones[n][1].append(await make_row(others[n], uuid4()))
                    case "write":
                        committed.add(await make_row(others[n], uuid4()))
                    case "commit" if n in open_ones:
                        transaction, keys = open_ones.pop(n)
                        await transaction.commit()
                        committed.update(keys)
                    case "roll back" if n in open_ones:
                        await open_ones.pop(n)[0].rollback()
                    case _:
                        await reader.read()
            for transaction, keys in open_ones.values():
                await transaction.commit()
                committed.update(keys)
        finally:
            for other in others:
                await other.close()
        await reader.read_until(len(committed))
        assert (await reader.read())["changes"] == []
        assert sorted(reader.ids) == sorted(committed)  # each once

    async def test_argument_as_json_text_is_read(self, log: Connection) -> None:
        await make_row(log, uuid4())
        await Reader(log).read_until(1)
        answer = await log.fetchval(
            "select public.evpower_changes($1::jsonb)", json.dumps(json.dumps({"limit": 1}))
        )
        assert '"reset": false' in answer

    async def test_tables_are_not_read_from_end_to_end(self, log: Connection) -> None:
        await log.execute(
            "insert into public.clients (id) select gen_random_uuid() from generate_series(1, 500)"
        )
        await make_user(log)
        await Reader(log).read_until(500)
        async with log.transaction():
            scans = (
                "select sum(seq_scan)::int from pg_stat_xact_user_tables where relname = any ($1)"
            )
            tables = ["clients", "users", "changes"]
            before: int = await log.fetchval(scans, tables)
            page = await rpc(log, "evpower_changes", limit=200)
            last = page["changes"][100]
            after = {"xid": last["xid"], "seq": last["seq"]}
            await rpc(log, "evpower_changes", after=after, limit=200)
            await rpc(log, "evpower_people", limit=100)
            await rpc(log, "evpower_people", ids=[user["id"] for user in page["people"]])
            await rpc(log, "evpower_changes_prune", before=after, keep_days=0)
            await rpc(log, "evpower_webhook_status", after=after)
            assert await log.fetchval(scans, tables) == before


class TestRestored:
    """A log that is not the one the cursor came from."""

    async def test_cursor_from_the_future_starts_again(self, log: Connection) -> None:
        await make_row(log, uuid4())
        page = await rpc(log, "evpower_changes", after={"xid": str(2**62), "seq": 5})
        assert page == {
            "changes": [],
            "people": [],
            "more": False,
            "held": False,
            "reset": True,
        }

    async def test_cursor_whose_row_is_not_here_starts_again(self, log: Connection) -> None:
        reader = Reader(log)
        keys = [await make_row(log, uuid4()) for _ in range(2)]
        await reader.read_until(2)
        # Restored to before the last change, and so busy since that the numbers were used again.
        await log.execute("delete from evpower.changes where row_id = $1", keys[1])
        await log.execute("update public.clients set name = 'since'")
        assert (await reader.read())["reset"] is True
        again = Reader(log)
        await again.read_until(3)
        assert again.ids[0] == keys[0]

    async def test_no_cursor_and_one_of_nothing_begin_at_the_start(self, log: Connection) -> None:
        key = await make_row(log, uuid4())
        await Reader(log).read_until(1)
        for after in (None, {"xid": "0", "seq": 0}):
            page = await rpc(log, "evpower_changes", after=after)
            assert ([change["id"] for change in page["changes"]], page["reset"]) == ([key], False)

    async def test_rows_from_a_cluster_that_was_ahead_are_neither_lost_nor_in_the_way(
        self, log: Connection
    ) -> None:
        now = await make_row(log, uuid4())
        seq: int = await log.fetchval("select max(seq) from evpower.changes")
        restored = [str(uuid4()) for _ in range(2)]
        await log.executemany(
            'insert into evpower.changes (seq, "table", row_id, op, xid) overriding system value'
            " values ($1, 'users', $2, 'update', ($3::text)::xid8)",
            [(seq + 50 + n, key, str(2**50 - n)) for n, key in enumerate(restored)],
        )
        reader = Reader(log)
        await reader.read_until(3)
        assert reader.ids == [now, *restored]
        late = await make_row(log, uuid4())  # its number is above those restored
        await reader.read_until(4)
        assert reader.ids[-1] == late
        assert reader.seen[-1]["seq"] > seq + 51

    async def test_two_readers_find_restored_rows_at_once(
        self, log: Connection, target: Target
    ) -> None:
        await log.execute(
            'insert into evpower.changes ("table", row_id, op, xid)'
            " select 'users', gen_random_uuid()::text, 'update', '1125899906842624'::xid8"
            " from generate_series(1, 50)"
        )
        async with target.psql() as other:
            readers = [Reader(log), Reader(other)]
            await asyncio.gather(*(reader.read_until(50) for reader in readers))
        assert sorted(readers[0].ids) == sorted(readers[1].ids)
        assert len(set(readers[0].ids)) == 50


class TestPrune:
    """Old rows go, but never the one the cursor stands on."""

    async def test_applied_changes_that_are_old_are_deleted(self, log: Connection) -> None:
        for _ in range(4):
            await make_row(log, uuid4())
        reader = Reader(log)
        seen = await reader.read_until(4)
        await log.execute(
            "update evpower.changes set at = now() - interval '8 days' where seq < $1",
            seen[1]["seq"],
        )
        before = {"xid": seen[2]["xid"], "seq": seen[2]["seq"]}
        assert await rpc(log, "evpower_changes_prune", before=before) == {"pruned": 1}
        assert await rpc(log, "evpower_changes_prune", before=before, keep_days=0) == {"pruned": 1}
        left = await log.fetch("select seq from evpower.changes order by seq")
        assert [row["seq"] for row in left] == [seen[2]["seq"], seen[3]["seq"]]
        reader.after = before
        page = await reader.read()
        assert (page["reset"], len(page["changes"])) == (False, 1)

    @pytest.mark.parametrize(
        "before", [None, {"xid": str(2**62), "seq": 1}, {"xid": "3", "seq": 1}]
    )
    async def test_cursor_of_another_log_prunes_nothing(
        self, log: Connection, before: Mapping[str, object] | None
    ) -> None:
        await make_row(log, uuid4())
        answer = await rpc(log, "evpower_changes_prune", before=before, keep_days=0)
        assert answer == {"pruned": 0}
        assert len(await logged(log)) == 1


class TestPeople:
    """evpower_people: all users, as they are now."""

    async def test_fields_of_a_user(self, log: Connection) -> None:
        phone = digits()
        key = await make_user(
            log,
            phone=phone,
            phone_confirmed_at=await log.fetchval("select now()"),
            raw_user_meta_data='{"name": "Aida", "phone": "0555", "full_name": 7, "avatar": "x"}',
            raw_app_meta_data='{"evpower_email_unverified": true}',
        )
        await make_row(log, key, email="row@example.kg", phone="+996", name="Row")
        answer = await rpc(log, "evpower_people", ids=[str(key)])
        assert answer == {
            "next": None,
            "people": [
                {
                    "id": str(key),
                    "client": {
                        "email": "row@example.kg",
                        "phone": "+996",
                        "name": "Row",
                        "status": "active",
                        "delete_requested_at": None,
                        "status_under_block": None,
                        "written": False,
                    },
                    "user": {
                        "email": f"{key.hex}@example.kg",
                        "phone": phone,
                        "email_confirmed": False,
                        "phone_confirmed": True,
                        "metadata": {"phone": "0555", "name": "Aida", "full_name": "7"},
                        "deleted": False,
                        "banned_until": None,
                        "anonymous": False,
                        "email_unverified": True,
                    },
                }
            ],
        }

    async def test_unknown_ids_and_texts_that_are_no_id_are_returned_empty(
        self, log: Connection
    ) -> None:
        ids = [str(uuid4()), "client_007", "", "'; drop table public.clients; --"]
        people = (await rpc(log, "evpower_people", ids=ids))["people"]
        assert sorted(user["id"] for user in people) == sorted(ids)
        assert all(user["client"] is None and user["user"] is None for user in people)

    @pytest.mark.parametrize("limit", [1, 2, 3, 100])
    async def test_walk_meets_everyone_once(
        self, log: Connection, target: Target, limit: int
    ) -> None:
        await as_auth(log, "delete from auth.users")
        both, login, row = await make_user(log), await make_user(log), uuid4()
        for key in (both, row):
            await make_row(log, key)
        odd = ["0", "client_007", "ЖАМАЛ", "zz"] if target.older else []
        for key in odd:
            await make_row(log, key)
        met: list[str] = []
        after: str | None = None
        for _ in range(20):
            page = await rpc(log, "evpower_people", after=after, limit=limit)
            met += [user["id"] for user in page["people"]]
            after = page["next"]
            if after is None:
                break
        assert met[:3] == sorted(map(str, (both, login, row)))
        assert sorted(met[3:]) == sorted(odd)

    async def test_too_many_ids_are_refused(self, log: Connection) -> None:
        with pytest.raises(asyncpg.InvalidParameterValueError):
            await rpc(log, "evpower_people", ids=[str(n) for n in range(5001)])


async def test_a_blocked_change_is_reported_though_it_is_unblocked_meanwhile(
    log: Connection, target: Target
) -> None:
    """Else the puller waits for the next notification. The page is long, so reading takes time."""
    choose = random.Random(1)
    await log.execute(
        'insert into evpower.changes ("table", row_id, op)'
        " select 'clients', gen_random_uuid()::text, 'update' from generate_series(1, 900)"
    )
    async with target.psql() as older, target.psql() as reading:
        for _ in range(40):
            running = older.transaction()
            await running.start()
            await older.fetchval("select pg_current_xact_id()")
            withheld = await make_row(log, uuid4())
            read = asyncio.create_task(Reader(reading).read())
            steps = choose.randint(1, 200_000)  # it works on for a while
            await older.fetchval("select count(*) from generate_series(1, $1::int)", steps)
            await running.commit()
            page = await read
            came = withheld in {change["id"] for change in page["changes"]}
            assert came or page["held"]
            await log.execute(f"delete from evpower.changes where row_id = '{withheld}'")
