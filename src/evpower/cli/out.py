"""What commands print: plain lines, colour and progress only on a terminal."""

import sys
import unicodedata
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final, NoReturn, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

# Letters that change what a terminal shows of the others: controls, text direction, broken Unicode.
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def visible(text: str) -> str:
    """Return the text with everything a terminal would act on written as an escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode()
        if character != "\n" and unicodedata.category(character) in _UNSEEN
        else character
        for character in text
    )


def styled(*parts: str | tuple[str, str]) -> Text:
    """Return a line in which some parts have a style: ("ok", "green")."""
    shown = [
        visible(part) if isinstance(part, str) else (visible(part[0]), part[1]) for part in parts
    ]
    return Text.assemble(*shown)


class PlainConsole(Console):
    """Prints texts as they are: most come from elsewhere, and none of them is a command to us."""

    def print(self, *objects: Any, **options: Any) -> None:  # noqa: ANN401 - rich's own
        """Print texts without markup or emoji, and what `styled` made with its styles."""
        plain = (Text(visible(value)) if isinstance(value, str) else value for value in objects)
        super().print(*plain, **options)


# A line stays one line, however long: other programs read it.
console: Final = PlainConsole(highlight=False, soft_wrap=True)
errors: Final = PlainConsole(stderr=True, highlight=False, soft_wrap=True)


class ProgressStep(Protocol):
    """Tells how far a long work is: done, and of how many when known."""

    def __call__(self, done: int, total: int | None) -> None:
        """Show it."""
        ...


def fail(error: str, fix: str = "", code: int = 1) -> NoReturn:
    """Say what is wrong and what to do, and end."""
    errors.print(styled(("error", "bold red"), f": {error}"))
    if fix:
        errors.print(f"  {fix}")
    sys.exit(code)


@contextmanager
def progress(title: str) -> Generator[ProgressStep]:
    """A bar on a terminal, a line every so often elsewhere."""
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
