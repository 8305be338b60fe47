"""Stations as CSV and JSON: written, read again, refused by line."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evpower import stations
from evpower.foundation.db import Connection
from evpower.foundation.names import name_flaw, trim_name
from evpower.stations import (
    InvalidStationFile,
    Location,
    StationDraft,
    read_stations,
    write_csv,
    write_json,
)
from evpower.stations.model import ConnectorDraft, Name
from tests.conftest import Server, patient_database
from tests.stations.scenario import Operator, connector

HEAD = "station,location_name,connector,power_kw\n"


def read(text: str | bytes, *, is_json: bool = False) -> list[StationDraft]:
    raw = text.encode() if isinstance(text, str) else text
    return [station.draft for station in read_stations(raw, is_json=is_json)]


def flaws(text: str | bytes, *, is_json: bool = False) -> list[tuple[str, str]]:
    with pytest.raises(InvalidStationFile) as error:
        read(text, is_json=is_json)
    return list(error.value.flaws)


class TestReading:
    def test_what_is_left_out_is_as_usual(self) -> None:
        [draft] = read(HEAD + "A,Mall,1,7.4\nA,,2,60\n")
        assert draft.location == Location("", "Mall")
        assert draft.connectors == (
            ConnectorDraft(1, "IEC_62196_T2", "SOCKET", "AC_1_PHASE", 7400, 1),
            ConnectorDraft(2, "IEC_62196_T2_COMBO", "CABLE", "DC", 60_000, 2),
        )
        assert (draft.no_auth, draft.paid_only, draft.post_code) == (False, True, None)

    def test_rows_of_a_station_may_stand_apart(self) -> None:
        drafts = read(HEAD + "A,Mall,1,22\nB,Mall,1,22\nA,,2,22\n")
        assert [(draft.id, len(draft.connectors)) for draft in drafts] == [("A", 2), ("B", 1)]

    @pytest.mark.parametrize(
        "text",
        [
            "\ufeff" + HEAD + "A,Mall,1,22\n",
            (HEAD + "A,Mall,1,22\n").replace("\n", "\r\n"),
            (HEAD + "A,Mall,1,22\n").replace(",", ";"),
            HEAD.replace(",", ";") + "A;Mall;1;22,0",
            HEAD + "\n,,,\nA,Mall,1,22\n\n",
        ],
    )
    def test_a_spreadsheet_s_ways_to_write_are_read(self, text: str) -> None:
        [draft] = read(text)
        assert (draft.id, draft.connectors[0].rated_power_w) == ("A", 22_000)

    def test_bad_rows_are_named_by_their_lines_all_at_once(self) -> None:
        text = HEAD + 'A,"Mall\nof many",1,22\nB,Mall,1,much\nC,Mall,x,22\nD,Mall,1\nE,,1,22\n'
        assert flaws(text) == [
            ("line 6", "has 3 fields, the first line 4"),
            ("line 2", "the location name has a control character"),
            ("line 4", "power_kw must be a number"),
            ("line 5", "connector must be a whole number"),
            ("line 7", "the location has no name"),
        ]

    @pytest.mark.parametrize(
        ("text", "where", "reason"),
        [
            ("", "line 1", "names each field once"),
            (HEAD, "file", "has no station"),
            ("station,price\nA,1\n", "line 1", "there is no field 'price'"),
            ("station,station\nA,A\n", "line 1", "names each field once"),
            ("location_name\nMall\n", "line 1", "names each field once"),
            (b"\xff\xfe", "file", "is not UTF-8"),
            (HEAD + 'A,"Mall,1,22\n', "line 2", "is no CSV"),
            (HEAD + "A,Mall,1,22\nA,Park,2,22\n", "line 2", "location_name is another"),
            (HEAD + "A,Mall,1,22\nA,,1,22\n", "line 2", "two connectors have one number"),
            (HEAD + "A,Mall,1,1e3\n", "line 2", "power_kw must be a number"),
            (HEAD + "A,Mall,1,NaN\n", "line 2", "power_kw must be a number"),
            (HEAD + "A,Mall,1,0.0001\n", "line 2", "parts of a watt"),
            (HEAD + "A,Mall,1," + "9" * 5000 + "\n", "line 2", "power_kw must be a number"),
            (HEAD + "A,Mall," + "9" * 5000 + ",22\n", "line 2", "connector must be a whole"),
            (HEAD + "A,Mall,-1,22\n", "line 2", "connector must be a whole"),
            (HEAD + "A,Mall,²,22\n", "line 2", "connector must be a whole"),
            (HEAD + ",Mall,1,22\n", "line 2", "is empty"),
            (HEAD + "A,Mall,1,\n", "line 2", "power_kw must be a number"),
        ],
    )
    def test_a_csv_that_makes_no_sense_is_refused(
        self, text: str | bytes, where: str, reason: str
    ) -> None:
        assert any(at == where and reason in detail for at, detail in flaws(text)), flaws(text)

    @pytest.mark.parametrize(
        ("field", "value", "reason"),
        [
            ("no_auth", "maybe", "no_auth must be true or false"),
            ("names", "CHR-1", "names has a line"),
            ("names", "post_code:abcd", "names has a line"),
            ("latitude", "north", "latitude must be a number"),
            ("evse", "one", "evse must be a whole number"),
            ("post_code", "K", "a post code has"),
        ],
    )
    def test_a_field_that_makes_no_sense_is_named(
        self, field: str, value: str, reason: str
    ) -> None:
        head = f"station,location_name,power_kw,{field}\n"
        [(where, detail)] = flaws(f"{head}A,Mall,22,{value}\n")
        assert where == "line 2"
        assert reason in detail

    @pytest.mark.parametrize(
        ("value", "where", "reason"),
        [
            ({}, "file", "no JSON list"),
            ([], "file", "has no station"),
            ([1], "station 1", "are JSON objects"),
            ([{"station": "A"}], "station 1", "connectors must be a list"),
            ([{"station": "A", "connectors": []}], "station 1", "1 to 100"),
            ([{"station": "A", "connectors": [1]}], "station 1", "are JSON objects"),
            ([{"station": "A", "connectors": [{"price": 1}]}], "station 1", "no field 'price'"),
            ([{"password": "x", "connectors": [{}]}], "station 1", "no field 'password'"),
            ([{"station": {}, "connectors": [{}]}], "station 1", "must be a text"),
            ([{"station": None, "connectors": [{"power_kw": 1}]}], "station 1", "is empty"),
            ([{"station": "A", "connectors": [{"power_kw": 10**400}]}], "station 1", "number"),
        ],
    )
    def test_a_json_that_makes_no_sense_is_refused(
        self, value: object, where: str, reason: str
    ) -> None:
        refused = flaws(json.dumps(value), is_json=True)
        assert any(at == where and reason in detail for at, detail in refused), refused

    @pytest.mark.parametrize(
        "text", ["{", "[" * 100_000, "\ud800".encode("utf-8", "surrogatepass")]
    )
    def test_what_is_no_json_is_one_flaw(self, text: str | bytes) -> None:
        [(where, _)] = flaws(text, is_json=True)
        assert where == "file"


SHORT = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=12).filter(
    lambda text: name_flaw(text, most=12) is None and trim_name(text) == text
)
MEMBERS = st.sampled_from(
    [
        (),
        (("ping", "false"), ("settle_s", "5")),
        (("autostart_keys", "FreeMode,AutoStart"), ("fixed_tag", "A=B")),
    ]
)
NAMES = SHORT.filter(lambda text: text.strip("/.") != "")


@st.composite
def drafts(draw: st.DrawFn) -> StationDraft:
    numbers = draw(st.lists(st.integers(1, 1000), min_size=1, max_size=3, unique=True))
    no_auth = draw(st.booleans())
    return StationDraft(
        id=draw(NAMES),
        location=Location(
            draw(SHORT),
            draw(SHORT),
            draw(st.just("") | SHORT),
            latitude=draw(st.decimals(-90, 90, places=6)),
            longitude=draw(st.decimals(-180, 180, places=3)),
        ),
        connectors=tuple(
            connector(number, rated_power_w=draw(st.integers(1, 10_000_000)), evse_number=number)
            for number in numbers
        ),
        names=tuple(Name(text, "serial") for text in draw(st.lists(NAMES, max_size=2))),
        post_code=draw(st.none() | st.from_regex(r"[0-9a-z]{4,12}", fullmatch=True)),
        owner=draw(st.none() | SHORT),
        no_auth=no_auth,
        paid_only=draw(st.booleans()),
        cards_without_auth=no_auth and draw(st.booleans()),
        is_simulated=draw(st.booleans()),
        pinned_version=draw(st.sampled_from([None, "ocpp1.6", "ocpp2.0.1"])),
        is_retired=draw(st.booleans()),
        profile=draw(st.sampled_from([None, "default", "huawei"])),
        profile_members=draw(MEMBERS),
    )


@given(st.lists(drafts(), min_size=1, max_size=3, unique_by=lambda draft: draft.id))
def test_what_is_written_is_read_equal(written: list[StationDraft]) -> None:
    assert read(write_csv(written)) == written
    assert read(write_json(written), is_json=True) == written


class TestImport:
    @pytest.fixture
    async def exported(self, operator: Operator) -> list[StationDraft]:
        await operator.add(owner='Sun, LLC; "quoted"', pinned_version="ocpp1.6")
        await operator.rename("EVP-001", 'N/1, "x"')
        members = {"ping": "false", "autostart_keys": "FreeMode, AutoStart"}
        await operator.change("EVP-001", profile="huawei", members=members)
        await operator.rename("EVP-001", "серийный-1", "serial")
        await operator.add("станция", no_auth=True, cards_without_auth=True, is_simulated=True)
        await operator.retire("станция")
        return await operator.export()

    @pytest.mark.parametrize("kind", ["csv", "json"])
    async def test_an_export_is_imported_equal_elsewhere(
        self, server: Server, exported: list[StationDraft], kind: str
    ) -> None:
        is_json = kind == "json"
        text = write_json(exported) if is_json else write_csv(exported)
        dsn = await server.new_database()
        other = patient_database(dsn)
        await other.start()
        try:
            elsewhere = Operator(other)
            done = await elsewhere.load(text, is_json=is_json)
            assert (done.added, done.without_password) == (("EVP-001", "станция"), ("EVP-001",))
            assert await elsewhere.export() == exported
            again = await elsewhere.load(text, is_json=is_json)
            assert (again.added, again.unchanged) == ((), ("EVP-001", "станция"))
        finally:
            await other.close()
            await server.command(f"drop database {dsn.rsplit('/', 1)[1]} with (force)")

    async def test_one_bad_row_lets_nothing_in(self, operator: Operator, owner: Connection) -> None:
        await operator.add()
        text = HEAD + "A,New place,1,22\nevp-001,Mall,1,22\nB,Mall,1,22\nb,Mall,1,22\n"
        with pytest.raises(InvalidStationFile) as error:
            await operator.load(text)
        assert [where for where, _ in error.value.flaws] == ["line 3", "line 5"]
        assert await owner.fetchval("select count(*) from stations.stations") == 1
        assert await owner.fetchval("select count(*) from stations.locations") == 1

    async def test_a_station_that_is_there_with_other_values_is_named(
        self, operator: Operator
    ) -> None:
        await operator.load(HEAD + "A,Mall,1,22\n")
        assert (await operator.load(HEAD + "A,mall,1,22\n")).unchanged == ("A",)
        for row, differing in (
            ("A,Park,1,22", "location_name 'Mall', not 'Park'"),
            ("A,Mall,1,30", "power_kw of connector 1 '22', not '30'"),
            ("A,Mall,2,22", "connectors 1, not 2"),
        ):
            with pytest.raises(InvalidStationFile) as error:
                await operator.load(f"{HEAD}{row}\n")
            assert error.value.flaws[0] == ("line 2", f"A is stored with {differing}")

    async def test_an_imported_station_is_closed_until_it_is_secured(
        self, operator: Operator
    ) -> None:
        await operator.load(HEAD + "A,Mall,1,22\n")
        assert await operator.admit("A", "x") == "wrong_password"
        assert await operator.admit("A", await operator.secure("A")) == "authenticated"


def test_the_fields_are_those_of_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "stations.md").read_text("utf-8")
    page = page.partition("\n## Files\n")[2].partition("\n## ")[0]
    station = StationDraft("A", Location("x", "x"), (stations.usual_connector(1, 1),))
    fields = write_csv([station]).splitlines()[0].split(",")
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == fields
