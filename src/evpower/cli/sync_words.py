"""`evpower sync words`: what a project's own status words mean, before they are overwritten."""

import getpass
import json

import typer

from evpower import sync as synced
from evpower.cli.out import console, counted, fail
from evpower.cli.remote import with_supabase
from evpower.foundation.db import Database

words = typer.Typer(help="Status words from before EvPower, and what each means.")
_MEANINGS = ("active", "blocked", "inactive")
_JSON = typer.Option(False, "--json", help="One JSON line.")


@words.callback(invoke_without_command=True)
def show(context: typer.Context, as_json: bool = _JSON) -> None:
    """List them; exit 1 while one has no meaning: its clients may not spend."""
    if context.invoked_subcommand is not None:
        return

    async def work(database: Database, rpc: synced.SupabaseRpc) -> list[synced.FoundWord]:
        return await synced.find_words(database, rpc)

    words = with_supabase(work)
    unmapped = [status_word for status_word in words if status_word.mapped is None]
    if as_json:
        rows = [
            {
                "word": status_word.word,
                "clients": status_word.clients,
                "meaning": status_word.mapped.meaning if status_word.mapped else None,
            }
            for status_word in words
        ]
        typer.echo(json.dumps(rows))
    for status_word in [] if as_json else words:
        means = (
            f"{status_word.mapped.meaning}, said {status_word.mapped.operator}"
            if status_word.mapped
            else "not mapped"
        )
        console.print(f"{status_word.word!r}  {counted(status_word.clients, 'client')}: {means}")
    if unmapped:
        fail(
            f"not mapped: {counted(len(unmapped), 'word')}; their clients may not spend",
            "evpower sync words map WORD active|blocked|inactive --reason ...",
        )
    if not as_json and not words:
        console.print("no words of the project's own")


@words.command("map")
def map_word(
    word: str = typer.Argument(help="As `evpower sync words` shows it, without the quotes."),
    meaning: str = typer.Argument(help="active, blocked, or inactive (asked to be deleted)."),
    reason: str = typer.Option(..., "--reason", help="Why, for the audit."),
    operator: str = typer.Option("", "--operator", help="Who says so; the login name by default."),
) -> None:
    """Say what a word means, once and for all its clients; it is not changed afterwards."""
    if meaning not in _MEANINGS:
        fail(f"there is no meaning {meaning!r}", " or ".join(_MEANINGS))

    async def work(database: Database, rpc: synced.SupabaseRpc) -> int:
        status_words = await synced.find_words(database, rpc)
        if not any(status_word.word == word for status_word in status_words):
            fail(
                f"no client in Supabase has the word {word!r}, and a meaning is never changed",
                "evpower sync words lists those there are",
            )
        async with database.transaction() as connection:
            await synced.map_word(
                connection,
                word,
                meaning,
                operator=operator or getpass.getuser(),
                reason=reason,
            )
        return await synced.apply_status_word(database, rpc, word)

    handled = with_supabase(work)
    console.print(f"{word!r} means {meaning}; handled: {counted(handled, 'waiting client')}")
