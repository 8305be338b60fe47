"""`evpower tariff` in a thread of its own, its answers and its files."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from evpower.cli.app import app

Command = Callable[..., Result]


def tariff_command(dsn: str) -> Command:
    """A command in a thread, as each runs an event loop of its own."""

    def invoke(*words: str) -> Result:
        env = {"EVPOWER_DATABASE_URL": dsn}
        return CliRunner().invoke(app, ["tariff", *words], env=env)

    def work(*words: str) -> Result:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(invoke, *words).result()

    return work


def written(folder: Path, content: object, name: str = "day.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def answer(done: Result) -> dict[str, Any]:
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)
