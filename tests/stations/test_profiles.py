"""What is known of a make of station: each file, who gets it, and what an operator sets instead."""

import json
import re
import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from evpower import stations
from evpower.foundation.db import Connection
from evpower.foundation.errors import Invalid
from evpower.stations import StationChange, VendorProfile
from evpower.stations.profile_files import (
    MEMBERS,
    InvalidProfile,
    match_profile,
    override,
    override_text,
    read_override,
    read_profile,
    vendor_profiles,
)
from tests.stations.scenario import NOW, Operator

DOCS = Path(__file__).parents[2] / "docs"
FILES = Path(stations.__file__).parent / "vendors"
OVERVIEW = (DOCS / "vendors.md").read_text()
FEW = ("Energy.Active.Import.Register", "Power.Active.Import")
# Of each profile: what a station says of itself at its boot, and what is not as usual.
BOOTS: dict[str, tuple[tuple[str | None, str | None, str | None], dict[str, Any]]] = {
    "abb": (
        ("ABB", "CDT_TACW11::NET_WIFI", "TAC3Z9119006710273::V1.8.21"),
        {"measurands": FEW, "register_kind": "per_transaction"},
    ),
    "abl": (("ABL", "eMH2", None), {"trigger_allowed": False}),
    "aefa": (("AEFA", "Home", "SW:A1B_2.8"), {}),
    "alfen": (("Alfen BV", "NG910-60023", "4.15.7"), {}),
    "autel": (("Autel", "MaxiCharger", "PFA0102|V0.00.00|V1.38.00||2.4.3.0"), {}),
    "default": (("EvPower", "Simulator", "1"), {}),
    "delta": (("DELTA", "AC MAX", "1.26.37"), {"plug_first": True}),
    "easee": (("Easee", "Home", None), {}),
    "en-plus": (
        ("EN+", "AC7000-AE-45", "V43.0.552"),
        {"change_availability_allowed": False, "accept_data_transfer": True},
    ),
    "etrel": (("Etrel", "Inch", None), {}),
    "evbox": (("EV-BOX", "Livo", None), {}),
    "evbox-elvi": (("EVBox", "Elvi", None), {"measurands": FEW}),
    "foxess": (("FoxESS", "A022KP1", "1.10"), {"version_pin": "ocpp1.6"}),
    "go-e": (("go-e", "V4", "055.5"), {}),
    "grizzl-e": (("United Chargers", "GRS-*", "05.621"), {}),
    "grizzl-e-mini": (("United Chargers", "Grizzl-E Mini", None), {"fixed_tag": "uc_default_auth"}),
    "growatt": (("Growatt", "THOR_11AS", "THOR_11AS-V5.2.8"), {}),
    "heidelberg": (("Amperfied", "connect.home", None), {}),
    "huawei": (("", "ACChargePoint", None), {"rate_unit": "W", "zero_limit_stops": True}),
    "injet": (("Injet", "Sonic", None), {}),
    "jigu": (("JIGU", "WeGood", "V1.4"), {}),
    "legrand": (("LEGRAND", "GreenUp", None), {}),
    "mennekes": (("MENNEKES", "Amtron 4You", None), {}),
    "ocular": ((None, "BS AC EV Charger", "448.3251"), {}),
    "project-ev": (("Project EV", None, None), {}),
    "schneider": (("Schneider Electric", "EVlink G4", "3.4.0.10"), {}),
    "siemens-sicharge": (("Siemens", "Sicharge D", None), {}),
    "sigen": (("Sigen", "EVDC", None), {}),
    "sungrow": (("SUNGROW", "AC011E", None), {}),
    "teison": (("Teison", None, "V1.5@25238bf+100,F8.gl,ws,ESP32,RN8213@V31"), {}),
    "tkt": (("TKT", "22kW", None), {}),
    "wallbox": (("Wall Box Chargers", "CPB1-S-2-4", "6.6.20"), {}),
    "webasto": (("Webasto", "NEXT", None), {}),
    "zj-beny": (("ZJ Beny", "BCP-A2N-P", None), {}),
}


def test_every_file_is_in_this_list() -> None:
    assert sorted(BOOTS) == sorted(vendor_profiles())


@pytest.mark.parametrize("name", sorted(BOOTS))
def test_a_profile_is_found_by_the_boot_and_has_its_members(name: str) -> None:
    boot, members = BOOTS[name]
    profile = match_profile(*boot)
    assert profile.name == name
    usual = asdict(VendorProfile()) | {"name": name, "notes": profile.notes}
    assert asdict(profile) == usual | members


class TestPages:
    def test_every_profile_has_a_page_and_every_page_a_profile(self) -> None:
        pages = [page.stem for page in (DOCS / "vendors").glob("*.md")]
        assert sorted(pages) == sorted(vendor_profiles())
        listed = re.findall(r"^\| \[`([a-z-]+)`\]\(vendors/\1\.md\) \|", OVERVIEW, re.MULTILINE)
        assert sorted([*listed, "default"]) == sorted(vendor_profiles())
        assert "(vendors/default.md)" in OVERVIEW

    @pytest.mark.parametrize("name", sorted(BOOTS))
    def test_a_page_has_what_is_known_of_its_make(self, name: str) -> None:
        page = (DOCS / "vendors" / f"{name}.md").read_text()
        assert re.findall(r"^## (.*)$", page, re.MULTILINE) == [
            "Address and password", "Keys", "What differs", "Known deviations",
        ]  # fmt: skip
        profile = vendor_profiles()[name]
        known = page.partition("## Known deviations")[2]
        assert [note for note in profile.notes if f"\n- {note}\n" not in known] == []
        document = tomllib.loads((FILES / f"{name}.toml").read_text())
        boots = [
            tuple(f"`{match[part]}`" if part in match else "any" for part in ("vendor", "model"))
            for match in document.get("match", ())
        ]
        assert re.findall(r"^\| (`[^|]*`|any) \| (`[^|]*`|any) \|$", page, re.MULTILINE) == boots
        usual = VendorProfile()
        differs = [
            (member, f"{override_text(getattr(profile, member)).replace(',', ', ')}")
            for member in document
            if member in MEMBERS and getattr(profile, member) != getattr(usual, member)
        ]
        assert re.findall(r"^\| `(\w+)` \| `([^`]*)` \| ", page, re.MULTILINE) == differs


def test_the_longest_match_wins() -> None:
    assert match_profile("EVBox", "Elvi", None).name == "evbox-elvi"
    assert match_profile("EVBox", "Livo", None).name == "evbox"
    assert match_profile("United Chargers", "Mini", None).name == "grizzl-e-mini"


@pytest.mark.parametrize(
    "boot",
    [
        pytest.param((None, None, None), id="before-its-first-boot"),
        pytest.param(("ABBA", "CDT_TAC", None), id="another-name-that-begins-alike"),
        pytest.param(("Delta", "DC", None), id="another-model"),
        pytest.param(("Entest", "One", None), id="another-make"),
    ],
)
def test_a_station_of_no_known_make_has_the_default(boot: tuple[str | None, ...]) -> None:
    assert match_profile(*boot).name == "default"


def test_case_and_blanks_do_not_matter() -> None:
    assert match_profile(" wall  box CHARGERS ", None, None).name == "wallbox"


MATCH = '[[match]]\nvendor = "Acme"\n'


@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        ("pings = true\n" + MATCH, "there is no member 'pings'"),
        ("ping = 1\n" + MATCH, "ping must be true or false"),
        ('rate_unit = "kW"\n' + MATCH, "rate_unit is one of A, W"),
        ("rate_unit = [1]\n" + MATCH, "rate_unit is one of A, W"),
        ("settle_s = -1\n" + MATCH, "settle_s must be a whole number from 0 to 600"),
        ("settle_s = true\n" + MATCH, "settle_s must be a whole number from 0 to 600"),
        ('fixed_tag = "123456789012345678901"\n' + MATCH, "fixed_tag must be a text of at most 20"),
        ('measurands = ["SoC"]\n' + MATCH, "must have Energy.Active.Import.Register"),
        ('autostart_keys = "a"\n' + MATCH, "autostart_keys must be a list"),
        ('register_kind = "none"\n' + MATCH, "register_kind is one of lifetime"),
        ('version_pin = "ocpp2.1"\n' + MATCH, "version_pin is one of ocpp1.6"),
        ("ping = \n" + MATCH, "is no TOML"),
        ("ping = false\n", r"needs a \[\[match\]\]"),
        ('[match]\nvendor = "Acme"\n', "match must be a list"),
        ('[[match]]\nmake = "Acme"\n', "match has no member 'make'"),
        ('[[match]]\nvendor = " "\n', "none of them blank"),
        ('[[match]]\nfirmware = "1."\n', "names a vendor or a model"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(text: str, flaw: str) -> None:
    with pytest.raises(InvalidProfile, match=flaw) as raised:
        read_profile("acme", text)
    assert str(raised.value).startswith("acme: ")


@pytest.mark.parametrize(
    ("member", "text", "value"),
    [
        ("ping", "false", False),
        ("settle_s", "20", 20),
        ("fixed_tag", "abc", "abc"),
        ("measurands", f"{FEW[0]}, SoC", [FEW[0], "SoC"]),
        ("register_kind", "per_boot", "per_boot"),
        ("ping", "", None),
    ],
)  # fmt: skip
def test_a_member_is_read_from_a_text(member: str, text: str, value: object) -> None:
    read = read_override(member, text)
    assert read == value
    if value is not None:
        assert override(VendorProfile(), {member: read}) != VendorProfile()


async def test_an_operator_chooses_another_profile(operator: Operator, owner: Connection) -> None:
    await operator.add()
    await change(operator, StationChange(profile="huawei", members={"ping": "false"}))
    shown = (await operator.show("EVP-001")).profile
    assert (shown.profile.name, shown.is_chosen, shown.overrides) == (
        "huawei",
        True,
        {"ping": False},
    )
    assert shown.profile.rate_unit == "W"
    assert not shown.profile.ping
    audit = await owner.fetchrow("select * from identity.audit where action = 'station.change'")
    assert audit is not None
    details = json.loads(audit["details"])
    assert (details["profile"], details["members"]) == ("huawei", {"ping": "false"})

    await change(operator, StationChange(profile="", members={"ping": ""}))
    shown = (await operator.show("EVP-001")).profile
    assert (shown.profile, shown.is_chosen, shown.overrides) == (
        vendor_profiles()["default"], False, {},
    )  # fmt: skip


async def test_the_profile_follows_the_boot(operator: Operator) -> None:
    await operator.add()
    async with operator.db.transaction() as connection:
        await stations.report_boot(
            connection, "EVP-001", vendor="DELTA", model="AC MAX", firmware="1", now=NOW
        )
        assert (await stations.vendor_profile(connection, "EVP-001")).plug_first


@pytest.mark.parametrize(
    ("change_to", "detail"),
    [
        (StationChange(profile="huawai"), "is huawei meant"),
        (StationChange(members={"pings": "true"}), "there is no member 'pings'"),
        (StationChange(members={"ping": "maybe"}), "ping must be true or false"),
        (StationChange(members={"notes": "x"}), "there is no member 'notes'"),
    ],
)
async def test_an_unknown_profile_or_member_is_refused(
    operator: Operator, change_to: StationChange, detail: str
) -> None:
    await operator.add()
    with pytest.raises(Invalid) as raised:
        await change(operator, change_to)
    assert raised.value.code == "profile_invalid"
    assert detail in raised.value.detail


async def test_what_a_later_release_does_not_know_is_left_out(
    operator: Operator, owner: Connection
) -> None:
    await operator.add()
    await owner.execute(
        "insert into stations.profiles (station_id, profile, overrides) values ($1, $2, $3)",
        "EVP-001", "of-old", '{"of_old": 1, "ping": "yes", "stack_level": 2}',
    )  # fmt: skip
    shown = (await operator.show("EVP-001")).profile
    assert (shown.profile.name, shown.is_chosen) == ("default", False)
    assert shown.overrides == {"stack_level": 2}
    assert shown.profile.ping


async def test_the_audit_has_the_profile_of_before(operator: Operator, owner: Connection) -> None:
    await operator.add()
    await operator.change("EVP-001", profile="huawei", members={"stack_level": "2"})
    await operator.change("EVP-001", profile="", members={"stack_level": "", "ping": "false"})
    details = await owner.fetchval(
        """
        select details from identity.audit where action = 'station.change'
         order by id desc limit 1
        """
    )
    assert json.loads(details)["before"] == {
        "profile": "huawei",
        "members": {"stack_level": "2", "ping": ""},
    }


async def change(operator: Operator, wanted: StationChange) -> None:
    async with operator.db.transaction() as connection:
        await stations.change_station(
            connection, station="EVP-001", change=wanted, now=NOW, actor="aida"
        )
