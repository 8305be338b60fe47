"""The modules of the slices fit together: topics, loops, limits."""

from collections import Counter

import pytest
from pydantic import SecretStr

from evpower.api.limits import Budgets, RateLimits
from evpower.bootstrap.modules import Assembled, assemble
from evpower.bootstrap.server import loops_of
from evpower.config import Settings
from evpower.foundation.bus import Topic
from evpower.foundation.bus.nats_bus import NatsBus, topics_by_code
from evpower.foundation.module import Limit


@pytest.fixture
def parts() -> Assembled:
    settings = Settings(
        _env_file=None,  # pyright: ignore[reportCallIssue]
        env="development",
        database_url=SecretStr("postgresql://user@127.0.0.1:1/none"),
        supabase_url="http://127.0.0.1:1",
        nats_url=SecretStr("nats://127.0.0.1:1"),
    )
    return assemble(settings)


def test_topics_keep_their_codes(parts: Assembled) -> None:
    """Nodes of two versions run side by side, so a code never changes."""
    topics = [topic for module in parts.modules for topic in module.topics]
    assert {topic.name: topic.code for topic in topics} == {
        "client": b"c", "session": b"s", "station": b"t", "station_ping": b"p", "supabase": b"b",
        "command": b"q",
    }  # fmt: skip
    assert isinstance(parts.shared.bus, NatsBus)


@pytest.mark.parametrize("code", [b"c", b"", b"cc"])
def test_a_topic_needs_a_byte_of_its_own(code: bytes) -> None:
    with pytest.raises(ValueError, match="late"):
        topics_by_code([Topic("client", b"c"), Topic("late", code)])


def test_every_loop_has_a_name_of_its_own(parts: Assembled) -> None:
    for role in ("all", "api", "stations", "worker"):
        names = Counter(loop.name for loop in loops_of(parts, role))
        assert set(names.values()) == {1}
    assert {loop.name for loop in loops_of(parts, "api")} == {
        "puller", "live_read", "live_timers", "live_sweep", "old_location_changes",
        "old_socket_pings", "old_session_changes",
    }  # fmt: skip
    assert {loop.name for loop in loops_of(parts, "stations")} == {
        "ocpp_timers", "ocpp_touch", "ocpp_ended", "ocpp_frame_log", "ocpp_deviations",
        "ocpp_commands", "ocpp_forwards", "ocpp_profiles", "ocpp_unknown",
    }  # fmt: skip


def test_two_limits_of_one_name_must_be_one() -> None:
    hourly = Limit("register", "instead", ("/a",), 10, 3600)
    minutely = Limit("register", "instead", ("/b",), 10, 60)
    with pytest.raises(ValueError, match="register"):
        RateLimits(Budgets(), lambda: 0.0, [hourly, minutely])


def test_limits_of_one_name_share_their_budget() -> None:
    limits = [Limit("signed", "signed", (path,), 1, 60) for path in ("/bank/", "/supabase/")]
    rates = RateLimits(Budgets(), lambda: 0.0, limits)
    assert rates.is_signed("/bank/x")
    assert not rates.is_signed("/banks")
    assert [rates.take_signed(path, "a") for path in ("/bank/x", "/supabase/y")] == [0, 60]
