"""Cards of clients: given by an operator, imported from an older backend."""

import csv
import io
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from typer.testing import CliRunner, Result

from evpower import charging, identity
from evpower.charging import (
    ImportedCards,
    StationReadings,
    StationStatus,
    StationStop,
    StationTime,
)
from evpower.charging.due import find_due, watch_transaction
from evpower.charging.tags import is_phone_tag
from evpower.cli.app import app
from evpower.cli.doctor_database import look_at_database
from evpower.foundation.errors import EvPowerError
from tests.charging.place import read
from tests.charging.site import STATION, Site
from tests.hard_inputs import HOME, NOON, TIMES, TYPED_PHONES

CARD = "04A1B2C3D4E5F6"
FAR = datetime(2099, 12, 31, tzinfo=UTC)
# As typed, and as Supabase Auth stores a number that is ambiguous otherwise.
PHONES = {
    **{text: phone for text, phone in TYPED_PHONES.items() if "\ud83d" not in text},
    "4791234567": "+4791234567",
}


async def add(site: Site, client: UUID | str, tag: str = CARD) -> None:
    async with site.db.transaction() as connection:
        await charging.add_card(connection, tag=tag, client_id=str(client), actor="aida")


async def test_a_card_starts_a_session_of_its_client(site: Site) -> None:
    client = await site.driver()
    await site.open_to_cards()
    assert await site.authorize(CARD) == "invalid"
    await add(site, client)
    assert await site.authorize(CARD.lower()) == "accepted"
    answer = await site.begin(f"{CARD}-")  # some stations add a sign
    session = await site.session(await site.session_of(answer.transaction_id))
    assert (session["client_id"], session["started_by"]) == (client, "card")
    async with site.db.transaction() as connection:
        removed = await charging.remove_card(connection, tag=CARD, actor="aida")
    assert removed == [(CARD.lower(), client)]
    assert await site.state(session["id"]) == "charging"


@pytest.mark.parametrize("status", [None, "preparing"], ids=["beside a session", "by its status"])
async def test_a_card_s_start_that_names_no_connector_is_on_one_of_its_own(
    site: Site, status: str | None
) -> None:
    await site.open_to_cards()
    await add(site, await site.driver())
    if status is None:
        await site.started(await site.driver(), 1)
    else:
        await site.report(status, 2)
    answer = await site.begin(CARD, 0)
    session_id = await site.session_of(answer.transaction_id)
    assert (await site.transaction(answer.transaction_id))["connector"] == 2
    assert (await site.session(session_id))["connector_id"] == 2
    assert (await site.begin(CARD, 0)).transaction_id == answer.transaction_id
    await site.wait(60)
    await site.begin("DEADBEEF", 2)
    assert await site.state(session_id) == "settled", "the next start there ends it"


class TestOnAGuessedConnector:
    """A card's start names no connector of two: it is taken to be on the first one."""

    async def charge(self, site: Site, connector: int = 0) -> tuple[UUID, int]:
        await site.open_to_cards()
        await add(site, await site.driver())
        answer = await site.begin(CARD, connector)
        assert (await site.transaction(answer.transaction_id))["connector"] == 1
        return await site.session_of(answer.transaction_id), answer.transaction_id

    async def watch(self, site: Site) -> None:
        async with site.db.connection() as connection:
            items = await find_due(connection, site.now, site.rules)
        for due in items:
            async with site.db.transaction() as connection:
                await watch_transaction(connection, due, now=site.now, rules=site.rules)

    async def available(self, site: Site) -> None:
        await site.report("available")
        time = StationTime(site.now, site.now.isoformat())
        event = StationStatus(STATION, 1, "available", None, time, site.now, False)
        async with site.db.transaction() as connection:
            await charging.status_reported(connection, event, now=site.now, rules=site.rules)

    async def value(self, site: Site, transaction: int, wh: int) -> None:
        readings = (read(wh, site.now),)
        event = StationReadings(STATION, 1, transaction, None, readings, (), site.now)
        async with site.db.transaction() as connection:
            await charging.meter_values(connection, event, now=site.now, rules=site.rules)

    async def test_its_available_ends_nothing_while_values_come(self, site: Site) -> None:
        session, transaction = await self.charge(site)
        await self.available(site)
        for minute in range(4):
            await site.wait(60)
            await self.value(site, transaction, 1_100 + 100 * minute)
            await self.watch(site)
        assert await site.state(session) == "charging"
        await site.wait(300)
        await self.watch(site)
        assert await site.state(session) == "settled", "no more values come"

    async def test_its_available_ends_nothing_while_another_is_in_use(self, site: Site) -> None:
        session, _ = await self.charge(site)
        await site.report("charging", 2)
        await self.available(site)
        await site.wait(91)
        await self.watch(site)
        assert await site.state(session) == "charging"
        await site.report("finishing", 2)
        await site.wait(91)
        await self.watch(site)
        assert await site.state(session) == "settled"

    async def test_another_s_charge_says_nothing_of_it(self, site: Site) -> None:
        session, _ = await self.charge(site)
        await site.begin("DEADBEEF", 2)
        await site.report("charging", 2)
        await self.available(site)
        await site.wait(91)
        await self.watch(site)
        assert await site.state(session) == "settled"

    async def test_of_a_connector_that_was_named_available_is_the_end(self, site: Site) -> None:
        session, transaction = await self.charge(site, connector=1)
        await site.report("charging", 2)
        await self.available(site)
        await site.wait(91)
        await self.value(site, transaction, 1_500)
        await self.watch(site)
        assert await site.state(session) == "settled"

    @pytest.mark.parametrize(("connector", "state"), [(0, "charging"), (1, "settled")])
    async def test_a_stop_sent_again_is_not_of_it_by_that_status(
        self, site: Site, connector: int, state: str
    ) -> None:
        """A station without a clock: the next charge stands at the register of the stop."""

        async def stop() -> None:
            event = StationStop(
                STATION, None, None, CARD, Decimal(2_000), StationTime(None, None), "Local", (),
                (), site.now,
            )  # fmt: skip
            async with site.db.transaction() as connection:
                await charging.stop_transaction(connection, event, now=site.now)

        await self.charge(site, connector)
        await site.wait(600)
        await stop()
        answer = await site.begin(CARD, connector, at=None, meter_wh=Decimal(2_000))
        await site.wait(60)
        await self.available(site)
        await stop()
        assert await site.state(await site.session_of(answer.transaction_id)) == state

    async def test_a_late_start_is_where_its_driver_stood(self, site: Site) -> None:
        """Another driver waits at the other connector, and goes on waiting."""
        late = await site.start(await site.driver(), 1)
        await site.deliver("refused")
        waiting = await site.start(await site.driver(), 2)
        answer = await site.begin(await site.tag(late.session_id), 0)
        row = await site.transaction(answer.transaction_id)
        assert (row["session_id"], row["connector"]) == (late.session_id, 1)
        assert await site.state(waiting.session_id) == "requested"


async def test_a_card_is_ones_alone(site: Site) -> None:
    client = await site.driver()
    await add(site, client)
    await add(site, client)  # again changes nothing
    with pytest.raises(EvPowerError) as refused:
        await add(site, await site.driver())
    assert refused.value.code == "id_tag_taken"
    async with site.db.transaction() as connection:
        await charging.add_technician(connection, tag="T-1", name="Bakyt", actor="aida")
    with pytest.raises(EvPowerError) as technicians:
        await add(site, client, "t-1")
    assert technicians.value.code == "id_tag_taken"


async def test_a_card_is_one_card_however_it_is_written(site: Site) -> None:
    client = await site.driver()
    await site.open_to_cards()
    await add(site, client, "04:A1:B2:C3:D4:E5:F6")
    assert await site.authorize(CARD) == "accepted"
    assert await site.authorize("04-a1-b2-c3-d4-e5-f6") == "accepted"
    for written in (CARD, "04 a1 b2 c3 d4 e5 f6", f"{CARD}-"):
        with pytest.raises(EvPowerError) as refused:
            await add(site, await site.driver(), written)
        assert refused.value.code == "id_tag_taken"
    async with site.db.transaction() as connection:
        with pytest.raises(EvPowerError) as technicians:
            await charging.add_technician(connection, tag=CARD, name="Bakyt", actor="aida")
        assert technicians.value.code == "id_tag_taken"
        removed = await charging.remove_card(connection, tag=CARD, actor="aida")
    assert removed == [(CARD.lower(), client)]
    assert await site.authorize("04:A1:B2:C3:D4:E5:F6") == "invalid"


class TestStoredAsItWasWritten:
    """As a client migration by 0.1.0 stored cards."""

    async def store(self, site: Site, client: UUID, tag: str, age_h: int = 0) -> None:
        await site.sql.execute(
            "insert into identity.aliases (kind, alias, client_id, created_at)"
            " values ('id_tag', $2, $1, now() - make_interval(hours => $3))",
            client,
            tag,
            age_h,
        )

    async def owner(self, site: Site, tag: str) -> UUID | None:
        async with site.db.connection() as connection:
            return await identity.resolve_id_tag(connection, tag)

    async def test_it_stays_its_clients_however_it_is_written(self, site: Site) -> None:
        client = await site.driver()
        await site.open_to_cards()
        await self.store(site, client, "04:a1:b2")
        for written in ("04:A1:B2", "04A1B2"):
            with pytest.raises(EvPowerError) as refused:
                await add(site, await site.driver(), written)
            assert refused.value.code == "id_tag_taken"
            assert await self.owner(site, written) == client
            assert await site.authorize(written) == "accepted"
        await add(site, client, "04A1B2")  # again changes nothing
        async with site.db.transaction() as connection:
            [listed] = await identity.list_id_tags(connection, tag="04-A1-B2")
            assert (listed.tag, listed.client_id) == ("04:a1:b2", client)
            removed = await charging.remove_card(connection, tag="04A1B2", actor="aida")
            assert removed == [("04:a1:b2", client)]
        for written in ("04:A1:B2", "04A1B2"):
            assert await site.authorize(written) == "invalid"

    async def test_a_card_of_two_clients_is_named_and_taken_from_both(
        self, site: Site, dsn: str
    ) -> None:
        younger, older = await site.driver(), await site.driver()
        await self.store(site, younger, "04:a1:b2")
        await self.store(site, older, "04a1b2", age_h=1)
        written = {"04:A1:B2": younger, "04A1B2": older, "04 A1 B2": older}
        assert {tag: await self.owner(site, tag) for tag in written} == written
        for client in (younger, older):
            with pytest.raises(EvPowerError) as refused:
                await add(site, client, "04A1B2")
            assert refused.value.code == "id_tag_taken"
        [finding] = [it for it in await look_at_database(dsn) if it.name == "cards of two clients"]
        assert finding.ok is False
        assert finding.detail == (f"04a1b2 of client {older} and 04:a1:b2 of client {younger}")
        async with site.db.transaction() as connection:
            await charging.remove_card(connection, tag="04A1B2", actor="aida")
        acts = await site.sql.fetch(
            "select subject, details->>'tag' as tag from identity.audit"
            " where action = 'charging.card_remove'"
        )
        assert {tuple(act) for act in acts} == {
            (str(younger), "04:a1:b2"), (str(older), "04a1b2"),
        }  # fmt: skip
        [finding] = [it for it in await look_at_database(dsn) if it.name == "cards of two clients"]
        assert finding.ok

    async def test_one_of_only_signs_is_no_ones(self, site: Site) -> None:
        await self.store(site, await site.driver(), "-")
        await self.store(site, await site.driver(), ":")
        assert await self.owner(site, "-") is None
        async with site.db.transaction() as connection:
            assert await identity.list_shared_id_tags(connection) == []
            assert await identity.remove_id_tag(connection, " ") == []
            assert len(await identity.remove_id_tag(connection, "-")) == 2


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        ("", "invalid_request"),
        ("-:-", "invalid_request"),
        ("+996 555 123-456", "phone_is_no_card"),
        ("a\x00b", "invalid_request"),
        ("x" * 201, "invalid_request"),
        ("+996555123456", "phone_is_no_card"),
        ("996555123456", "phone_is_no_card"),
        ("CLIENT_17", "phone_is_no_card"),
    ],
)
async def test_what_is_no_card_is_refused(site: Site, tag: str, code: str) -> None:
    with pytest.raises(EvPowerError) as refused:
        await add(site, await site.driver(), tag)
    assert refused.value.code == code


async def test_an_unknown_or_closed_client_gets_no_card(site: Site) -> None:
    client = await site.driver()
    await site.sql.execute("update identity.clients set status = 'closed' where id = $1", client)
    for raw in (uuid4(), "unknown", client):
        with pytest.raises(EvPowerError) as refused:
            await add(site, raw)
        assert refused.value.code == "client_not_found"


class TestImport:
    async def imported(self, site: Site, text: str) -> ImportedCards:
        async with site.db.transaction() as connection:
            return await charging.import_cards(
                connection, text.encode(), actor="aida", now=site.now
            )

    async def test_cards_of_an_older_backend_are_taken_once(self, site: Site) -> None:
        client, other = await site.driver(), await site.driver()
        await site.sql.execute(
            "update identity.clients set phone = '+996700111222' where id = $1", client
        )
        await site.sql.execute(
            "insert into identity.aliases (kind, alias, client_id) values ('client_id', '17', $1)",
            client,
        )
        await add(site, other, "TAKEN-1")
        text = (
            "id_tag,parent_id_tag,expiry_date,status,user_id,client_id\n"
            f"{CARD},,,Accepted,,17\n"
            f"0001234567,,2099-01-01,Accepted,,{client}\n"
            "\n"
            f"+996555123456,,,Accepted,,{client}\n"
            f"0700111222,,,Accepted,,{client}\n"
            f"OLD-1,,2020-01-01 00:00:00,Accepted,,{client}\n"
            f"OLD-2,,soon,Accepted,,{client}\n"
            f"BLOCKED-1,,,Blocked,,{client}\n"
            f"LOST-1,,,Accepted,,18\n"
            f"taken-1,,,Accepted,,{client}\n"
            f",,,Accepted,,{client}\n"
        )
        result = await self.imported(site, text)
        assert result.counts == {
            "added": 2, "phone_number": 2, "expired": 2, "not_accepted": 1, "unknown_client": 1,
            "of_another": 1, "invalid_tag": 1,
        }  # fmt: skip
        assert [(row.line, row.tag) for row in result.left_out][:2] == [
            (5, "+996555123456"), (6, "0700111222"),
        ]  # fmt: skip
        again = await self.imported(site, text)
        assert (again.counts["repeated"], again.counts.get("added")) == (2, None)

    async def test_an_expiry_that_cannot_be_read_is_past(self, site: Site) -> None:
        client = await site.driver()
        texts = {**TIMES, "2099-12-31": FAR, "2099-12-31T00:00:00": FAR, "31.12.2099": None}
        rows = [f"CARD-{number},{client},{text}" for number, text in enumerate(texts)]
        imported = await self.imported(site, "\n".join(("id_tag,client_id,expiry_date", *rows)))
        left_out = {row.line for row in imported.left_out if row.outcome == "expired"}
        expected = {line for line, at in enumerate(texts.values(), 2) if (at or NOON) < FAR}
        assert left_out == expected

    async def test_a_clients_own_phone_is_no_card_however_it_is_written(self, site: Site) -> None:
        clients = {phone: await site.driver() for phone in {*PHONES.values()} - {None}}
        for phone, client in clients.items():
            await site.sql.execute(
                "update identity.clients set phone = $2 where id = $1", client, phone
            )
        file = io.StringIO()
        csv.writer(file).writerow(("id_tag", "client_id"))
        csv.writer(file).writerows((tag, clients[phone or HOME]) for tag, phone in PHONES.items())
        imported = await self.imported(site, file.getvalue())
        outcomes = {row.tag: row.outcome for row in imported.left_out}
        for tag, phone in PHONES.items():
            plain = identity.fold_id_tag(tag)  # a sign behind it makes no card of a phone number
            is_card = phone is None and not is_phone_tag(tag)
            is_card = is_card and identity.phone_as_typed(plain) != HOME
            expected = None if is_card else "phone_number"
            if identity.plain_id_tag(tag) is None:  # with signs that can't be seen
                expected = "invalid_tag"
            assert outcomes.get(tag.strip()) == expected, tag
            if phone is not None:
                with pytest.raises(EvPowerError) as refused:
                    await add(site, clients[phone], tag)
                assert refused.value.code in {"phone_is_no_card", "invalid_request"}, tag
        await add(site, clients["+77011234567"], "0555123456")  # another's number may be a card

    @pytest.mark.parametrize("raw", [b"", b"tag\nA\n", b"\xff\xfe"])
    async def test_a_file_of_another_form_is_refused(self, site: Site, raw: bytes) -> None:
        with pytest.raises(EvPowerError) as refused:
            async with site.db.transaction() as connection:
                await charging.import_cards(connection, raw, actor="aida", now=site.now)
        assert refused.value.code == "invalid_request"


async def test_an_operator_gives_lists_imports_and_takes_them(
    site: Site, dsn: str, tmp_path: Path
) -> None:
    def run(*words: str) -> Result:
        env = {"EVPOWER_DATABASE_URL": dsn}
        with ThreadPoolExecutor(1) as pool:  # a command runs an event loop of its own
            call = pool.submit(lambda: CliRunner().invoke(app, ["card", *words], env=env))
            return call.result()

    client = await site.driver()
    added = json.loads(run("add", CARD, "--client", str(client), "--json").stdout)
    assert [(row["tag"], row["client_id"]) for row in added] == [(CARD.lower(), str(client))]
    assert CARD.lower() in run("list", "--client", str(client)).stdout
    file = tmp_path / "cards.csv"
    file.write_text(f"id_tag,client_id\n{CARD},{client}\nB-2,{client}\n+996555123456,{client}\n")
    imported = run("import", str(file))
    assert imported.exit_code == 0, imported.output
    assert "line 4: '+996555123456' left out: phone_number" in imported.stdout
    assert len(json.loads(run("list", "--json").stdout)) == 2
    assert str(client) in run("remove", CARD).stdout
    assert run("remove", CARD).exit_code == 1
    assert run("import", str(tmp_path / "none.csv")).exit_code == 1
    acts = await site.sql.fetch("select action from identity.audit order by id")
    assert [row["action"] for row in acts][-3:] == [
        "charging.card_add", "charging.card_import", "charging.card_remove",
    ]  # fmt: skip
