"""The interface of a slice to the process: what it serves, runs, measures and limits.

Each slice has `module(settings, shared, *, <what it needs of other slices>)`; bootstrap lists them.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from starlette.types import ASGIApp

from evpower.foundation.bus import Bus, Topic
from evpower.foundation.clock import Clock
from evpower.foundation.db import Database
from evpower.foundation.fast_path import FastPath
from evpower.foundation.http import HttpClient
from evpower.foundation.loops import Loop
from evpower.foundation.roles import SERVING, WORKING, Role

if TYPE_CHECKING:  # commands import slices, and never serve
    from fastapi import APIRouter

# Refreshes gauges with one cheap query; called by each scrape.
Collector = Callable[[], Awaitable[None]]
# Returns True while the other system answers.
Probe = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Shared:
    """What every slice works with; nothing here has connected yet."""

    db: Database
    http: HttpClient
    bus: Bus
    clock: Clock


@dataclass(frozen=True, slots=True)
class Limit:
    """A separate rate limit of some paths. Limits with the same name share their budget.

    `kind` "also": counted by caller, in addition to the caller's general budget. "instead": counted
    by address in place of it, and no credential is read. "signed": calls of other systems,
    authenticated by a signature: counted by address, given back when accepted. "public": reads for
    everyone: as "instead", with any method. A path of these two is a prefix. "by_slice": calls
    without a credential are counted by the slice, by the id that they name; a path is a method and
    a template, `GET /api/balance/{client_id}`, and `besides` those of other routes that match it.
    """

    name: str
    kind: Literal["also", "instead", "signed", "public", "by_slice"]
    paths: tuple[str, ...]
    amount: int
    period_s: float
    besides: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """A background loop of the processes with one of `roles`; `make` builds it at their start."""

    make: Callable[[], Loop]
    roles: frozenset[Role] = WORKING


@dataclass(frozen=True, slots=True)
class Readiness:
    """Another system that a slice needs: `/readyz` shows ok or degraded under `name`."""

    name: str
    probe: Probe


@dataclass(frozen=True, slots=True)
class SocketPaths:
    """WebSockets that are served without the router, by a slice that limits handshakes itself.

    `matches` is called with the decoded path; a message has at most `message_bytes`.
    """

    matches: Callable[[str], bool]
    serve: ASGIApp
    message_bytes: int


@dataclass(frozen=True, slots=True)
class OldRoute:
    """A route of an older API, counted apart. Responses of a deprecated one say so."""

    method: str
    path: str  # the template
    family: str  # for the metric
    successor: str | None = None  # the template of the route that replaces it
    deprecated_at: datetime | None = None
    sunset_at: datetime | None = None  # from then on it may be gone


@dataclass(frozen=True, slots=True)
class Module:
    """One slice, served by the processes with one of `roles`.

    `start` runs in a serving process before its first request, `close` at its end.
    """

    name: str
    roles: frozenset[Role] = SERVING
    routers: "Sequence[APIRouter]" = ()
    sockets: SocketPaths | None = None
    fast_paths: Sequence[FastPath] = ()
    jobs: Sequence[Job] = ()
    collectors: Sequence[Collector] = ()
    route_limits: Sequence[Limit] = ()
    topics: Sequence[Topic] = ()
    readiness: Sequence[Readiness] = ()
    # Templates of paths whose errors are as old apps read them: with the sentence, or the code.
    plain_errors: Sequence[str] = ()
    coded_errors: Sequence[str] = ()
    old_routes: Sequence[OldRoute] = ()
    # Paths of POST whose bodies hold what must not be read: they are dropped as they arrive.
    unread_bodies: Sequence[str] = ()
    # Paths of probes: neither limited nor logged.
    unlimited: Sequence[str] = ()
    # What the slice adds to the answer of `GET /`.
    about: Mapping[str, object] = field(default_factory=dict[str, object])
    # The longest message to a WebSocket of its routers.
    socket_message_bytes: int = 0
    start: Callable[[], None] | None = None
    close: Callable[[], Awaitable[None]] | None = None
