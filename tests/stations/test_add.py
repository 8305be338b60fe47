"""Stations that are added, named, pinned and retired, on a real PostgreSQL."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

from evpower import stations
from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict, EvPowerError, Invalid, NotFound
from evpower.stations import Location
from evpower.stations.accept import MOST_OF_ONE_ADDRESS
from evpower.stations.model import Name
from tests.stations.scenario import MALL, NOW, Operator, connector

LONG = "A" * 50


class TestAdd:
    async def test_a_station_is_found_by_its_id_and_post_code(self, operator: Operator) -> None:
        added = await operator.add()
        assert added.location == MALL
        for name in ("EVP-001", "evp-001", " EVP-001 ", added.post_code, added.post_code.upper()):
            assert await operator.find(name) == "EVP-001"
        assert await operator.find("EVP-002") is None

    async def test_it_is_closed_until_it_has_a_password(self, operator: Operator) -> None:
        view = await operator.show((await operator.add()).id)
        station = view.station
        assert (station.no_auth, station.paid_only, station.cards_without_auth) == (
            False, True, False,
        )  # fmt: skip
        assert (station.wanted_availability, station.reported_availability) == ("operative", None)
        assert [row.reported_status for row in view.connectors] == [None, None]
        assert (view.has_password, view.password_waits) == (False, True)

    async def test_connectors_stand_on_evses_of_their_own(self, operator: Operator) -> None:
        await operator.add(
            connectors=(connector(1), connector(2, evse_number=1, evse_connector=2), connector(7))
        )
        view = await operator.show("EVP-001")
        places = [(row.number, row.evse_number, row.evse_connector) for row in view.connectors]
        assert places == [(1, 1, 1), (2, 1, 2), (7, 7, 1)]

    @pytest.mark.parametrize(
        "station_id",
        [
            "a/b",
            "/a//b/",
            "a b",
            "станция-1",
            "充電-1",
            "ß",
            "İ",
            LONG,
            "x'; drop table",
            "%2F",
            "a..",
        ],
    )
    async def test_hard_ids_are_stored_and_found_as_written(
        self, operator: Operator, station_id: str
    ) -> None:
        await operator.add(station_id)
        assert await operator.find(station_id) == station_id
        assert await operator.find(station_id.upper()) == station_id
        assert (await operator.show(station_id)).station.id == station_id

    @pytest.mark.parametrize(
        ("station_id", "twin"),
        [
            ("EVP-001", "evp-001"), ("Straße", "STRASSE"), ("станция", "СТАНЦИЯ"),
            ("\u00e9", "e\u0301"), ("EVP\uff11", "EVP1"), ("İ", "i\u0307"),
        ],
    )  # fmt: skip
    async def test_same_names_by_case_or_form_are_one_name(
        self, operator: Operator, station_id: str, twin: str
    ) -> None:
        await operator.add(station_id)
        with pytest.raises(Conflict) as error:
            await operator.add(twin)
        assert error.value.code == "station_name_taken"

    @pytest.mark.parametrize(
        "station_id",
        ["", " ", "A" * 51, " a", "a ", "a\x00", "a\nb", "\ud800", "a\u202eb", "\u200b", "/", "..",
         "a\u2028b"],
    )  # fmt: skip
    async def test_an_id_that_no_socket_can_have_is_refused(
        self, operator: Operator, station_id: str
    ) -> None:
        with pytest.raises(Invalid) as error:
            await operator.add(station_id)
        assert error.value.code == "station_invalid"

    @pytest.mark.parametrize(
        "values",
        [
            {"connectors": ()},
            {"connectors": (connector(1), connector(1))},
            {"connectors": (connector(1), connector(2, evse_number=1))},
            {"connectors": (connector(0),)},
            {"connectors": (connector(1001),)},
            {"connectors": (connector(rated_power_w=0),)},
            {"connectors": (connector(rated_power_w=10_000_001),)},
            {"connectors": (connector(standard="TYPE2"),)},
            {"connectors": (connector(format="PLUG"),)},
            {"connectors": (connector(power_type="AC"),)},
            {"connectors": (connector(evse_id="E1"),)},
            {"connectors": (connector(evse_connector=0),)},
            {
                "connectors": (
                    connector(1, evse_id="KG*EVP*E1"),
                    connector(2, evse_id="KG*EVP*E1"),
                )
            },
            {"connectors": (connector(1, evse_id="KG*EVP*E1"), connector(2, evse_number=1))},
            {"location": Location("x", "")},
            {"location": Location("x", " x")},
            {"location": Location("x", "\u200b")},
            {"location": Location("x", "x\u200b")},
            {"owner": "\u2800"},
            {"names": (Name("\u3164", "serial"),)},
            {"location": Location("x", "x", country="kg")},
            {"location": Location("x", "x", latitude=MALL.latitude)},
            {"location": Location("x", "x", time_zone="Asia/Nowhere")},
            {"location": Location("x", "x", time_zone="../../etc/passwd")},
            {"location": Location("x", "x", time_zone="right/Asia/Bishkek")},
            {"owner": " "},
            {"owner": "a\x00"},
            {"availability": "off"},
            {"pinned_version": "ocpp1.5"},
            {"cards_without_auth": True},
            {"post_code": "K7"},
            {"names": (Name("", "serial"),)},
            {"names": (Name("x", "post_code"),)},
        ],
    )
    async def test_what_makes_no_sense_is_refused(
        self, operator: Operator, values: dict[str, Any]
    ) -> None:
        with pytest.raises(Invalid) as error:
            await operator.add(**values)
        assert error.value.code == "station_invalid"

    async def test_everything_that_is_wrong_is_named(self, operator: Operator) -> None:
        with pytest.raises(Invalid) as error:
            await operator.add(owner=" ", availability="off")
        assert "owner" in error.value.detail
        assert "availability" in error.value.detail

    async def test_of_adders_at_one_moment_one_gets_the_name(self, operator: Operator) -> None:
        ids = ["EVP-001", "evp-001", "Evp-001", "EVP-001"]
        done = await asyncio.gather(
            *(operator.add(station_id) for station_id in ids), return_exceptions=True
        )
        refused = [error for error in done if isinstance(error, EvPowerError)]
        assert [error.code for error in refused] == ["station_name_taken"] * 3

    async def test_a_post_code_that_is_a_name_already_is_not_given_again(
        self, operator: Operator
    ) -> None:
        await operator.add("K7M4Q9")
        added = await operator.add("EVP-002", codes=iter(["k7m4q9", "k7m4qa"]))
        assert added.post_code == "k7m4qa"

    async def test_an_evse_id_is_one_stations(self, operator: Operator) -> None:
        await operator.add()
        others = (connector(1, evse_id="KG*EVP*E1*2"),)
        with pytest.raises(Conflict):
            await operator.add("EVP-002", connectors=others)
        assert await operator.find("EVP-002") is None


class TestLocations:
    async def test_a_new_name_makes_a_location_and_the_same_name_finds_it(
        self, operator: Operator
    ) -> None:
        first = await operator.add("a", location=Location("", "Dordoi Plaza"))
        second = await operator.add("b", location=Location("", "dordoi plaza"))
        third = await operator.add("c", location=Location("", first.location.id))
        assert first.location == second.location == third.location
        assert first.location.name == "Dordoi Plaza"

    async def test_adders_at_one_moment_make_one_location(self, operator: Operator) -> None:
        place = Location("", "Dordoi")
        added = await asyncio.gather(*(operator.add(f"S{n}", location=place) for n in range(6)))
        assert len({station.location.id for station in added}) == 1

    async def test_of_two_with_one_name_the_id_must_be_given(self, operator: Operator) -> None:
        await operator.add("a", location=Location("one", "Mall"))
        await operator.add("b", location=Location("two", "Mall"))
        with pytest.raises(Conflict) as error:
            await operator.add("c", location=Location("", "Mall"))
        assert error.value.code == "location_ambiguous"
        assert (await operator.add("c", location=Location("", "two"))).location.id == "two"

    async def test_other_values_under_a_stored_id_are_refused(self, operator: Operator) -> None:
        await operator.add()
        with pytest.raises(Conflict) as error:
            await operator.add("b", location=Location("mall", "Another"))
        assert error.value.code == "location_differs"

    async def test_a_list_may_be_of_one_location(self, operator: Operator) -> None:
        await operator.add("a")
        await operator.add("b", location=Location("park", "Park"))
        async with operator.db.connection() as connection:
            for name in ("park", "Park", "PARK"):
                listed = await stations.list_stations(connection, location=name)
                assert [view.station.id for view in listed] == ["b"]
            with pytest.raises(NotFound):
                await stations.list_stations(connection, location="nowhere")


class TestNames:
    async def test_a_rename_adds_a_name_and_the_id_stays(self, operator: Operator) -> None:
        added = await operator.add()
        await operator.rename("EVP-001", "NEW/1")
        await operator.rename("new/1", "CHR-BGK-001", "old_id")
        await operator.rename(added.post_code, "S" * 255, "serial")
        for name in ("EVP-001", "new/1", "chr-bgk-001", "s" * 255):
            assert await operator.find(name) == "EVP-001"
        assert await operator.names("EVP-001") == {
            Name("EVP-001", "ocpp"), Name("NEW/1", "ocpp"), Name("CHR-BGK-001", "old_id"),
            Name("S" * 255, "serial"), Name(added.post_code, "post_code"),
        }  # fmt: skip

    async def test_a_name_is_one_stations_whatever_its_kind(self, operator: Operator) -> None:
        await operator.add("A")
        added = await operator.add("B")
        for name in ("b", added.post_code):
            with pytest.raises(Conflict) as error:
                await operator.rename("A", name, "serial")
            assert error.value.code == "station_name_taken"

    async def test_a_name_it_has_changes_nothing(
        self, operator: Operator, owner: Connection
    ) -> None:
        await operator.add()
        await operator.rename("EVP-001", "evp-001", "serial")
        assert len(await operator.names("EVP-001")) == 2
        assert await owner.fetchval("select count(*) from identity.audit") == 1

    async def test_a_post_code_is_not_given_by_hand(self, operator: Operator) -> None:
        await operator.add()
        with pytest.raises(Invalid):
            await operator.rename("EVP-001", "abcd", "post_code")

    async def test_a_station_that_is_none_is_not_found(self, operator: Operator) -> None:
        for act in (operator.rename("x", "y"), operator.secure("x"), operator.retire("x"),
                    operator.show("x"), operator.accept("x")):  # fmt: skip
            with pytest.raises(NotFound):
                await act


class TestRetire:
    async def test_a_retired_station_keeps_its_names_and_leaves_the_list(
        self, operator: Operator
    ) -> None:
        await operator.add()
        assert await operator.retire("EVP-001")
        assert not await operator.retire("EVP-001")
        assert await operator.find("EVP-001") == "EVP-001"
        with pytest.raises(Conflict):
            await operator.add("evp-001")
        async with operator.db.connection() as connection:
            assert await stations.list_stations(connection) == []
            assert len(await stations.list_stations(connection, with_retired=True)) == 1

    async def test_it_may_be_brought_back(self, operator: Operator) -> None:
        await operator.add(no_auth=True)
        await operator.retire("EVP-001")
        assert await operator.admit("EVP-001", None) == "retired"
        assert await operator.retire("EVP-001", undo=True)
        assert await operator.admit("EVP-001", None) == "open"

    async def test_its_connection_and_waiting_commands_end(
        self, operator: Operator, owner: Connection
    ) -> None:
        await operator.add()
        await owner.execute(
            "insert into stations.connections (station_id, address, version, is_authenticated)"
            " values ('EVP-001', '10.0.0.1', 'ocpp1.6', true)"
        )
        await owner.execute(
            "insert into stations.commands (station_id, action, actor, expires_at)"
            " values ('EVP-001', 'reset', 'aida', now() + interval '1 minute')"
        )
        await operator.retire("EVP-001")
        closed = await owner.fetchval("select close_reason from stations.connections")
        assert (closed, await owner.fetchval("select state from stations.commands")) == (
            "operator", "timed_out",
        )  # fmt: skip


class TestUnknown:
    async def test_an_unknown_name_is_counted_and_accepted_as_it_was_written(
        self, operator: Operator
    ) -> None:
        await operator.attempt("SN-100")
        await operator.attempt("sn-100", NOW + timedelta(hours=1))
        await operator.attempt("SN-200")
        assert await operator.unknown() == [("sn-100", 2), ("SN-200", 1)]
        added = await operator.accept("SN-100")
        assert added.id == "sn-100"
        assert await operator.unknown() == [("SN-200", 1)]

    async def test_a_station_added_or_renamed_is_no_longer_unknown(
        self, operator: Operator
    ) -> None:
        await operator.attempt("a")
        await operator.attempt("b")
        await operator.add("A")
        await operator.rename("A", "B")
        assert await operator.unknown() == []

    async def test_an_attempt_written_after_the_station_was_added_is_left(
        self, operator: Operator
    ) -> None:
        await operator.add("A")
        await operator.attempt("a")
        assert await operator.unknown() == []

    async def test_names_of_one_address_leave_room_for_others(self, operator: Operator) -> None:
        await operator.attempt("NEW", NOW, address="10.0.0.9")
        names = [f"S{number}" for number in range(MOST_OF_ONE_ADDRESS + 5)]
        await operator.attempts(names, NOW + timedelta(seconds=1))
        listed = [name for name, _ in await operator.unknown()]
        assert len(listed) == MOST_OF_ONE_ADDRESS + 1
        assert "NEW" in listed

    async def test_attempts_of_one_moment_are_counted_by_name(self, operator: Operator) -> None:
        await operator.attempts(["b", "A", "a", "B", "a", ""])
        assert sorted(await operator.unknown()) == [("(no id)", 1), ("B", 2), ("a", 3)]

    async def test_the_list_is_bounded_and_the_latest_stay(self, operator: Operator) -> None:
        for number in range(8):
            await operator.attempt(f"S{number}", NOW + timedelta(seconds=number), most=3)
        assert [name for name, _ in await operator.unknown()] == ["S7", "S6", "S5"]

    @pytest.mark.parametrize("name", ["\x00\x1b[2J", "A" * 10_000, "", " ", "\u202e"])
    async def test_any_name_a_stranger_sends_is_stored_or_left(
        self, operator: Operator, name: str
    ) -> None:
        await operator.attempt(name)
        for shown, _ in await operator.unknown():
            assert shown.isprintable()
            assert len(shown) <= 255


async def test_a_version_is_pinned_and_freed(operator: Operator) -> None:
    await operator.add()
    for version in ("ocpp1.6", None):
        async with operator.db.transaction() as connection:
            await stations.pin_station(connection, station="evp-001", version=version, actor="aida")
        assert (await operator.show("EVP-001")).station.pinned_version == version


async def test_every_act_is_in_the_audit_and_no_password(
    operator: Operator, owner: Connection
) -> None:
    added = await operator.add()
    await operator.rename("EVP-001", "B")
    password = await operator.secure("EVP-001")
    await operator.retire("EVP-001")
    await operator.retire("EVP-001", undo=True)
    rows = await owner.fetch("select action, subject, details from identity.audit order by id")
    assert [(row["action"], row["subject"]) for row in rows] == [
        (f"station.{act}", "EVP-001") for act in ("add", "rename", "secure", "retire", "bring_back")
    ]
    text = json.dumps([row["details"] for row in rows])
    assert password not in text
    assert added.password is not None
    assert added.password not in text
