"""Every known quirk of real stations has a test with its number in its id."""

# pyright: reportUnknownMemberType=false

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, get_args

import pytest

from evpower.charging.events import BehaviourKind

TESTS: Final = Path(__file__).parents[1]
_IDS: Final = re.compile(r'def test_(?:\w*?_)?q(\d+)_|\bid="Q(\d+)["-]')

# The numbers of the list of quirks; it has gaps.
DUE: Final = {
    "sockets": {1, *range(3, 11), *range(12, 18)},
    "boots, statuses, clocks": {18, 19, 21, 22, 23},
    "starts": {*range(24, 30), 31, 32},
    "meter values": {*range(33, 42), *range(43, 48), *range(49, 52)},
    "stops": {53, 54, 56, 58, 59, 61},
    "commands and configuration": set(range(62, 70)),
    "limits": {*range(71, 74), 80, 81},
    "libraries": set(range(82, 88)),
}
EXCEPTIONS: Final = {
    2: "how an address is entered: docs/ocpp.md",
    11: "certificates of a vendor: documentation",
    70: "firmware updates are not served yet",
    74: "OCPP 2.0.1 is not served yet",
    76: "OCPP 2.0.1 is not served yet",
    77: "OCPP 2.0.1 is not served yet",
    79: "OCPP 2.0.1 is not served yet",
}
# Of 5 and 21 the half that is of OCPP 2.0.1 is not served yet either.


def numbers() -> Iterator[int]:
    for file in TESTS.rglob("test_*.py"):
        for name, param in _IDS.findall(file.read_text()):
            yield int(name or param)


@pytest.mark.parametrize("section", DUE)
def test_every_quirk_has_a_test(section: str) -> None:
    assert DUE[section] - set(numbers()) == set()


def test_an_exception_is_not_due() -> None:
    assert set.union(*DUE.values()) & EXCEPTIONS.keys() == set()


SOURCE: Final = TESTS.parent / "src" / "evpower"
PAGE: Final = TESTS.parent / "docs" / "ocpp.md"
_COUNTED: Final = re.compile(r'notes\.add\(\s*"(\w+)"|\.note\(\s*"(\w+)"|\.note\([^)]*\{"(\w+)"\}')
_ROW: Final = re.compile(r"^\| ([*`a-z0-9_, ]+) \|", re.MULTILINE)


def test_the_page_has_every_kind_of_deviation() -> None:
    table = PAGE.read_text().partition("## Deviations")[2]
    listed = {kind for row in _ROW.findall(table) for kind in re.findall(r"`(\w+)`", row)}
    files = [file for name in ("ocpp", "charging") for file in (SOURCE / name).rglob("*.py")]
    program = "\n".join(file.read_text() for file in files)
    shown = {kind for match in _COUNTED.findall(program) for kind in match if kind}
    assert len(shown) > 20
    assert (shown | set(get_args(BehaviourKind))) - listed == set()
    assert {kind for kind in listed if f'"{kind}"' not in program} == set()
