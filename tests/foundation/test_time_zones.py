"""A time zone is named as IANA names it; other files of the system's folder are none."""

from zoneinfo import available_timezones

import pytest

from evpower.foundation.time_zones import read_time_zone

NO_ZONES = [
    "localtime", "Factory", "posixrules", "posix/Asia/Bishkek", "posix/UTC", "right/UTC",
    "right/Asia/Bishkek", "leapseconds", "leap-seconds.list", "tzdata.zi", "zone.tab",
    "zone1970.tab", "iso3166.tab", "+VERSION", "SECURITY", "Asia", "Asia/Nowhere", "", " ",
    "asia/bishkek", "ASIA/BISHKEK", "Asia/Bishkek ", " Asia/Bishkek", "Asia/Bishkek\n",
    "Asia/Bishkek\0", "Asia/Bishkek\u200b", "Asia/\u0412ishkek", "Asia/\ud800", "Asia/", "/Asia",
    "Asia//Bishkek", "./Asia/Bishkek", "Asia/../Asia/Bishkek", "../etc/passwd",
    "/usr/share/zoneinfo/UTC", "UTC+6", "+06:00", "A" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("name", NO_ZONES)
def test_what_is_no_name_of_iana_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="there is no time zone"):
        read_time_zone(name)


def test_every_zone_of_iana_is_read() -> None:
    names = available_timezones() - {"localtime", "Factory"}
    assert {read_time_zone(name).key for name in names} == names
    assert len(names) > 400
