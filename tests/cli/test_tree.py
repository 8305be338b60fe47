"""A command line loads the commands of its first word, which are the same as in the whole tree."""

import subprocess
import sys
from typing import Any

import pytest
import typer

from evpower.cli.app import app
from evpower.cli.tree import WORDS, build


def names(command: Any) -> Any:
    """The names of a command's own commands, all the way down, and of its options."""
    below = getattr(command, "commands", {})
    options = [option for parameter in command.params for option in parameter.opts]
    return {name: names(each) for name, each in below.items()} or options


@pytest.mark.parametrize("word", WORDS)
def test_a_word_has_all_its_commands(word: str) -> None:
    whole, part = (typer.main.get_command(tree) for tree in (app, build(word)))
    assert names(part)[word] == names(whole)[word]


def test_the_words_are_those_of_the_whole_tree() -> None:
    assert set(names(typer.main.get_command(app))) == set(WORDS)


def test_another_word_has_the_whole_tree() -> None:
    assert set(names(typer.main.get_command(build("tarif")))) == set(WORDS)


def test_one_group_loads_no_other_slice() -> None:
    program = (
        "import sys; from evpower.cli.tree import build; build('ledger');"
        " print(*sys.modules, sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    loaded = set(done.stdout.decode().split())
    assert "evpower.wallet" in loaded
    assert not loaded & {"evpower.charging", "evpower.payments", "evpower.bootstrap"}
