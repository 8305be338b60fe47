"""The output of commands: plain lines; colour and progress only on a terminal."""

import sys
import unicodedata
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final, NoReturn, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

# Characters that change how a terminal shows others: controls, text direction, broken Unicode.
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def visible(text: str) -> str:
    """Returns the text with every character that controls a terminal as an escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode()
        if character != "\n" and unicodedata.category(character) in _UNSEEN
        else character
        for character in text
    )


def counted(number: int, noun: str) -> str:
    """Returns a number with its noun, in the plural unless it is 1: "1 row", "2 rows"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def styled(*parts: str | tuple[str, str]) -> Text:
    """Returns a line in which some parts have a style: ("ok", "green")."""
    shown = [
        visible(part) if isinstance(part, str) else (visible(part[0]), part[1]) for part in parts
    ]
    return Text.assemble(*shown)


class PlainConsole(Console):
    """Prints texts literally: most come from elsewhere, and none is markup."""

    def print(self, *objects: Any, **options: Any) -> None:  # noqa: ANN401 - rich's own
        """Prints texts without markup or emoji, and what `styled` returned with its styles."""
        plain = (Text(visible(value)) if isinstance(value, str) else value for value in objects)
        super().print(*plain, **options)


# A line stays one line, however long: programs parse it.
console: Final = PlainConsole(highlight=False, soft_wrap=True)
errors: Final = PlainConsole(stderr=True, highlight=False, soft_wrap=True)


class ProgressStep(Protocol):
    """Shows the progress of long work: done, and the total if it is known."""

    def __call__(self, done: int, total: int | None) -> None:
        """Shows it."""
        ...


def fail(error: str, fix: str = "", code: int = 1) -> NoReturn:
    """Prints what is wrong and the fix, and exits."""
    errors.print(styled(("error", "bold red"), f": {error}"))
    if fix:
        errors.print(f"  {fix}")
    sys.exit(code)


@contextmanager
def progress(title: str) -> Generator[ProgressStep]:
    """Yields a bar on a terminal, a line every few seconds elsewhere."""
    if not errors.is_terminal:
        last = -1

        def tell(done: int, total: int | None) -> None:
            nonlocal last
            tenth = done * 10 // total if total else done // 10_000
            if tenth != last:
                last = tenth
                errors.print(f"{title}: {done}" + (f" of {total}" if total else ""))

        yield tell
        return
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=errors) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
