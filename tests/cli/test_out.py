"""What commands print of texts from elsewhere: as they are, and nothing a terminal obeys."""

import io
from pathlib import Path

import pytest
from rich.text import Text

from evpower.cli.out import PlainConsole, fail, styled, visible
from tests.cli.test_commands import GOOD, evpower

HOSTILE = ["[/]", "[red]x", "[link=http://a]b[/link]", ":warning:", "[@click=x]y[/]", "\\[/]"]


def printed(*objects: object) -> str:
    into = io.StringIO()
    PlainConsole(file=into, force_terminal=True, highlight=False, width=200).print(*objects)
    return into.getvalue()


@pytest.mark.parametrize("text", HOSTILE)
def test_markup_of_others_is_only_text(text: str) -> None:
    assert printed(f"status word: {text}") == f"status word: {text}\n"
    assert styled("word: ", (text, "red")).plain == f"word: {text}"


@pytest.mark.parametrize("text", HOSTILE)
def test_an_error_about_any_text_is_an_error(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        fail(f"there is no client {text}", text)
    assert capsys.readouterr().err == f"error: there is no client {text}\n  {text}\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("a\rb\x00\x7f\x9bm", "a\\rb\\x00\\x7f\\x9bm"),
        ("\u202egnp.exe\u2066", "\\u202egnp.exe\\u2066"),
        ("half \ud800", "half \\ud800"),
        ("two\nlines", "two\nlines"),
        ("Айгүл … 250.50", "Айгүл … 250.50"),
    ],
)
def test_what_a_terminal_would_obey_is_shown(text: str, shown: str) -> None:
    assert visible(text) == shown
    assert printed(text) == f"{shown}\n"
    assert styled((text, "red")) == Text.assemble((shown, "red"))


def test_a_command_names_an_argument_that_looks_like_markup(tmp_path: Path) -> None:
    words = ("payments", "resolve", "[/]", "--invoice", "abcdef", "--reason", "a test")
    done = evpower(tmp_path, *words, env=GOOD)
    assert done.returncode == 1
    assert done.stderr == "error: there is no decision '[/]'\n  accept or dismiss\n"
