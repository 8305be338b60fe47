"""What `evpower doctor` says of one thing."""

from datetime import UTC, datetime, timedelta

import pytest

from evpower.cli.finding import clock


@pytest.mark.parametrize(
    ("ahead_s", "ok"), [(-3600, False), (-15, True), (15, True), (3600, False)]
)
def test_a_clock_is_wrong_in_both_directions(ahead_s: int, ok: bool) -> None:  # noqa: FBT001
    finding = clock("database clock", datetime.now(UTC) + timedelta(seconds=ahead_s))
    assert finding.ok is ok
