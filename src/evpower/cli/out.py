"""What commands print: plain lines, colour and progress only on a terminal."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import NoReturn, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


class Step(Protocol):
    """Tells how far a long work is: done, and of how many when known."""

    def __call__(self, done: int, total: int | None) -> None:
        """Show it."""
        ...


def fail(what: str, fix: str = "", code: int = 1) -> NoReturn:
    """Say what is wrong and what to do, and end."""
    errors.print(f"[bold red]error[/]: {what}", soft_wrap=True)
    if fix:
        errors.print(f"  {fix}", soft_wrap=True)
    sys.exit(code)


@contextmanager
def progress(title: str) -> Generator[Step]:
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
