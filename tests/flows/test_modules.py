"""The modules of the slices fit together: topics, loops, limits."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from evpower.api.limits import Budgets, RateLimits
from evpower.bootstrap.modules import Assembled, assemble
from evpower.bootstrap.server import loops_of
from evpower.config import Settings
from evpower.foundation.bus import Topic
from evpower.foundation.bus.nats_bus import NatsBus, topics_by_code
from evpower.foundation.module import Limit
from evpower.ocpp import STATION_PATHS

SOURCE = Path(__file__).resolve().parents[2] / "src" / "evpower"
NO_SLICES = ("api", "foundation", "bootstrap", "config")
# What a slice makes for its Module. The edge has a job of its own: api/module.py.
FACTS = {"FastPath", "Limit", "OldRoute", "SocketPaths", "Topic"}


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


def test_no_other_file_names_a_path_of_a_slice(parts: Assembled) -> None:
    """A slice is one Module: the edge, the foundation and the start take its paths from there."""
    routes = routes_of_slices(parts)
    assert len(routes) > 150
    named = {
        f"{path.relative_to(SOURCE)}:{line} {text}"
        for path, tree in outside_of_slices()
        for line, text in paths_named(tree)
        if any(route == text or route.startswith(f"{text}/") for route in routes)
    }
    assert named == set()


def test_no_other_file_makes_what_is_a_slices_own() -> None:
    made = {
        f"{path.relative_to(SOURCE)}:{node.lineno} {node.func.id}"
        for path, tree in outside_of_slices()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if node.func.id in FACTS
    }
    assert made == set()


def routes_of_slices(parts: Assembled) -> set[str]:
    routes: set[str] = {*STATION_PATHS}
    for module in parts.modules:
        for router in module.routers:
            routes |= {str(getattr(route, "path", "")) for route in router.routes}
        routes |= {path for limit in module.route_limits for path in limit.paths}
        routes |= {path.template for path in module.fast_paths}
        routes |= {*module.unlimited, *module.unread_bodies}
        routes |= {route.path for route in module.old_routes}
    return routes - {"/", "/readyz", ""}  # the edge's own are among the old API's, too


def outside_of_slices() -> Iterator[tuple[Path, ast.Module]]:
    for folder in NO_SLICES:
        for path in sorted((SOURCE / folder).rglob("*.py")):
            if "legacy" not in path.parts:
                yield path, ast.parse(path.read_text())


def paths_named(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Paths in texts that the program uses, longer than the prefixes that all share."""
    unused = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in unused
        ):
            for path in re.findall(r"/[\w{}/.:-]+", node.value):
                if path.rstrip("/") not in {"", "/api", "/api/v1"}:
                    yield node.lineno, path.rstrip("/")
