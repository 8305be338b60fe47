"""Each thing that goes wrong at stations and costs money has a test on a real socket, by number.

Seen in public projects; the number stands in the name or id of the test.
"""

import re
from pathlib import Path
from typing import Final

TESTS: Final = Path(__file__).resolve().parents[1]
SOCKETS: Final = sorted((TESTS / "ocpp").glob("test_edge_*.py"))
CASES: Final = {
    "01": "StartTransaction again under the same message id",
    "02": "StartTransaction again under a new message id",
    "03": "StartTransaction again with another stamp, or after its stop",
    "04": "StopTransaction with -1 or 0: the answer to the start was lost",
    "05": "StopTransaction is lost",
    "06": "StopTransaction again",
    "07": "StopTransaction of what the server never knew, or before its restart",
    "08": "a queue of hours ago",
    "09": "a register that jumps to 0",
    "10": "a lifetime register as the energy of a session",
    "11": "Wh and kWh",
    "12": "values that do not come, or lack the energy",
    "13": "a clock that is off, of 1970, without a zone",
    "14": "a transaction id of 64 bits",
    "15": "connector 0",
    "16": "a remote start that is accepted and never begins, or late",
    "17": "a remote start without an answer that begins",
    "18": "a remote stop that is accepted and not obeyed",
    "19": "a reconnect while it charges",
    "20": "two sockets of one station",
    "21": "a dead socket that looks open",
    "22": "a boot while it charges, and twice",
    "22b": "the first boots of a whole site at once",
    "23": "messages out of order after a reconnect",
    "25": "halves of a tyiyn, and a price that changes",
}
# Not of a station's messages, or of money that nothing is charged for yet.
ELSEWHERE: Final = {"24": "charging/test_watch.py", "26": "payments/test_webhook.py"}


def test_every_case_has_a_test_on_a_real_socket() -> None:
    named = set[str]()
    for path in SOCKETS:
        for name in re.findall(r"def test_edge((?:_[0-9]+b?)+)_", path.read_text()):
            named.update(name.strip("_").split("_"))
    assert named == set(CASES)


def test_the_numbers_have_no_gap() -> None:
    numbers = {name for name in CASES | ELSEWHERE if not name.endswith("b")}
    assert numbers == {f"{number:02}" for number in range(1, 27)}
    assert all((TESTS / path).exists() for path in ELSEWHERE.values())
