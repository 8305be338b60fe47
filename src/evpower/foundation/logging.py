"""Structured logs: one JSON object a line on stdout, with the request's id and without secrets."""

import json
import logging
import math
import sys
from collections import OrderedDict
from collections.abc import Callable, MutableMapping
from contextvars import ContextVar
from typing import Any, Final

import orjson
import structlog

# The id of the request being served; empty outside of one.
request_id: ContextVar[str] = ContextVar("request_id", default="")

_SECRET_WORDS: Final = (
    "password",
    "secret",
    "token",
    "authorization",
    "apikey",
    "api_key",
    "service_key",
    "signature",
    "card_pan",
    "cvv",
)
_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
# Without local variables: one of them may be a password.
_TRACEBACKS: Final = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)
_KINDS: Final = 1000  # of rate-limited lines that are remembered
_Event = MutableMapping[str, Any]


class RateLimitedLogger:
    """Log lines that any caller can cause: each kind once a minute, with a count.

    A kind is the event with its values: they must be few.
    """

    def __init__(
        self,
        logger: structlog.typing.WrappedLogger,
        now_s: Callable[[], float],
        interval_s: float = 60.0,
    ) -> None:
        self._logger = logger
        self._now_s = now_s
        self._interval_s = interval_s
        self._seen: OrderedDict[tuple[object, ...], tuple[float, int]] = OrderedDict()

    def info(self, event: str, **values: str) -> None:
        """Log at level info."""
        self._log("info", event, values)

    def warning(self, event: str, **values: str) -> None:
        """Log at level warning."""
        self._log("warning", event, values)

    def _log(self, level: str, event: str, values: dict[str, str]) -> None:
        kind = (level, event, *values.values())
        now = self._now_s()
        logged_at, unlogged = self._seen.get(kind, (-math.inf, 0))
        if now - logged_at < self._interval_s:
            self._seen[kind] = (logged_at, unlogged + 1)
            return
        self._seen[kind] = (now, 0)
        self._seen.move_to_end(kind)
        if len(self._seen) > _KINDS:
            self._seen.popitem(last=False)
        getattr(self._logger, level)(event, **values, times=unlogged + 1)


def configure(level: str = "info", *, json: bool = True) -> None:
    """Set up structlog and the standard library's logging once, in bootstrap."""
    number = _LEVELS[level]
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_request_id,
        hide_secrets,
    ]
    render: list[structlog.typing.Processor] = (
        [_TRACEBACKS, structlog.processors.JSONRenderer(_dumps_bytes)]
        if json
        else [
            structlog.dev.ConsoleRenderer(
                colors=sys.stdout.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
    )
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.BytesLoggerFactory() if json else structlog.PrintLoggerFactory(),
        cache_logger_on_first_use=True,
    )
    text_render: list[structlog.typing.Processor] = (
        [_TRACEBACKS, structlog.processors.JSONRenderer(_dumps_text)] if json else render
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *text_render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(number, logging.WARNING))  # other libraries: warnings and errors only


def add_request_id(_logger: object, _name: str, event: _Event) -> _Event:
    """Adds the id of the request that a line belongs to."""
    current = request_id.get()
    if current:
        event.setdefault("request_id", current)
    return event


def hide_secrets(_logger: object, _name: str, event: _Event) -> _Event:
    """Blanks values whose name contains a secret word; the last defence, not the first."""
    for name in event:
        lowered = name.lower()
        if any(word in lowered for word in _SECRET_WORDS):
            event[name] = "[hidden]"
    return event


def _dumps_bytes(event: object, **_: object) -> bytes:
    try:
        return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:  # a lone surrogate in a text: logged in its escaped form
        return json.dumps(event, default=str, skipkeys=True).encode()


def _dumps_text(event: object, **_: object) -> str:
    return _dumps_bytes(event).decode()
