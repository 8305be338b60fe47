"""The command tree, or as much of it as the first word of a command line needs.

To import every slice takes a second of a core, which no command of one group should wait for.
"""

import functools
import gc
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Final, NamedTuple, cast

import typer

from evpower import __version__


class _Group(NamedTuple):
    """Where a group of commands is, and the modules that add commands of their own to it."""

    module: str
    attribute: str
    adding: tuple[str, ...] = ()


_STATION: Final = (
    "simulate", "stations_command", "station_forward", "station_frames", "station_setup",
    "station_free",
)  # fmt: skip
_COMMANDS: Final[Mapping[str, tuple[str, ...]]] = {
    "server": ("serve", "migrate", "doctor", "openapi"),
    "dev": ("dev", "demo"),
}
_GROUPS: Final[Mapping[str, _Group]] = {
    "clients": _Group("clients", "clients", ("clients_without_token",)),
    "keys": _Group("keys", "keys"),
    "operators": _Group("keys", "operators"),
    "sign-in": _Group("sign_in", "sign_in"),
    "sign-in-keys": _Group("sign_in", "keys"),
    "payments": _Group("payments_bank", "payments", ("payments_reconcile",)),
    "bank": _Group("bank", "bank"),
    "tariff": _Group("tariffs", "tariff"),
    "station": _Group("stations_file", "station", _STATION),
    "location": _Group("locations", "location"),
    "alert": _Group("alerts", "alert"),
    "push": _Group("push", "push_group"),
    "report": _Group("reports", "report"),
    "session": _Group("sessions", "session"),
    "quarantine": _Group("sessions", "quarantine"),
    "card": _Group("cards", "card"),
    "technician": _Group("technicians", "technician"),
    "ledger": _Group("ledger", "ledger"),
    "sync": _Group("sync", "sync"),
    "identity": _Group("identity", "identity"),
    "supabase": _Group("supabase", "supabase"),
}
# Nearly nothing that is imported is garbage: every 700 objects, as usual, a tenth of a start's CPU
# went into looking for some.
_COLLECT_AFTER: Final = (20_000, 10, 10)
WORDS: Final = (*(word for words in _COMMANDS.values() for word in words), *_GROUPS)


def build(word: str | None = None) -> typer.Typer:
    """Returns the commands that begin with the word; every command for None or another word."""
    app = typer.Typer(
        name="evpower",
        help="Backend of an EV-charging operator: a prepaid wallet, kept equal with Supabase.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_root)
    chosen = {word} if word in WORDS else set(WORDS)
    for module, words in _COMMANDS.items():
        if chosen.intersection(words):
            import_module(f"evpower.cli.{module}").register(app)
    for name in _GROUPS:
        if name in chosen:
            app.add_typer(_group(name), name=name)
    return app


@functools.cache
def _group(name: str) -> typer.Typer:
    group = _GROUPS[name]
    commands = cast(
        "typer.Typer", getattr(import_module(f"evpower.cli.{group.module}"), group.attribute)
    )
    for module in group.adding:
        import_module(f"evpower.cli.{module}").register(commands)
    return commands


def _version(value: bool) -> None:
    if value:
        typer.echo(f"evpower {__version__}")
        raise typer.Exit


def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Backend of an EV-charging operator."""


def main() -> None:
    """Runs the command line."""
    gc.set_threshold(*_COLLECT_AFTER)
    build(sys.argv[1] if len(sys.argv) > 1 else None)()
