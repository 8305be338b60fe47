"""What the documents say is there: files, anchors, commands, settings, queries, metrics."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command

from evpower.cli.app import app
from evpower.config import Settings
from evpower.foundation.db import Connection

ROOT = Path(__file__).resolve().parents[2]
TOP = ("README.md", "README.ru.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
DOCUMENTS = [*(ROOT / name for name in TOP), *sorted((ROOT / "docs").rglob("*.md"))]
SOURCE = ROOT / "src" / "evpower"
CHECKOUT = "(?:src|tests|bench|migrations|supabase|docs|requirements)"
DEVELOPMENT_ONLY = {"sandbox_url", "sandbox_secret", "failpoint_file", "clock_file"}
# A text in the runbook: words, and none of a command, a query or another system's error.
QUOTED = re.compile(
    r"(?!(?:evpower|select|update|insert|delete|alter|create|supabase|make|docker) )"
    r"[A-Za-z_]+:? [a-zA-Z]"
)
LEFT_OUT = re.compile(r"…|\.\.\.|\bN\b|\d+|\bevpower_app\b|^[a-z_]+: ")
MIN_QUOTED = 10
OF_TESTS = {"EVPOWER_TEST_CHROMIUM"}
IDS = {"client_id = '…'": "client_id = '00000000-0000-4000-8000-000000000000'", "'+996…'": "'+996'"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), f"{link} is not there"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert anchor in {_slug(heading) for heading in headings}, f"no heading for {link}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_named_is_there(document: Path) -> None:
    if document.name == "CHANGELOG.md":  # it also names files of earlier versions
        return
    folders = "|".join(path.name for path in SOURCE.iterdir() if path.is_dir())
    text = document.read_text()
    named = [ROOT / name for name in re.findall(rf"`({CHECKOUT}/[\w/.-]+\.\w+)`", text)]
    named += [SOURCE / name for name in re.findall(rf"`((?:{folders})/[\w/]+\.py)`", text)]
    assert [str(path.relative_to(ROOT)) for path in named if not path.exists()] == []


def test_every_decision_is_in_the_index_with_its_title_status_and_date() -> None:
    folder = ROOT / "docs" / "decisions"
    row = (
        r"^\| (\d{4}) \| \[(.*)\]\((.*)\) \| (?:in force|replaced by \d{4}) \| \d{4}-\d\d-\d\d \|$"
    )
    listed = re.findall(row, (folder / "README.md").read_text(), re.MULTILINE)
    pages = sorted(folder.glob("0*.md"))
    titles = [page.read_text().partition("\n")[0].removeprefix("# ") for page in pages]
    assert [(f"{number}. {title}", name) for number, title, name in listed] == [
        (title, page.name) for title, page in zip(titles, pages, strict=True)
    ]


@pytest.mark.parametrize("index", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_every_page_of_a_usual_change_is_linked(index: str) -> None:
    text = (ROOT / index).read_text()
    pages = [page.name for page in (ROOT / "docs" / "how-to").glob("*.md")]
    assert [name for name in pages if f"how-to/{name})" not in text] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_named_exists(document: Path) -> None:
    known = _commands()
    groups = {name.split()[0] for name in known if " " in name}
    for words in re.findall(r"evpower ([a-z-]+(?: [a-z-]+)?)", document.read_text()):
        first = words.split()[0]
        if first in groups:
            assert words in known or words == first, f"evpower {words}"


@pytest.mark.parametrize("name", ["README.md", "README.ru.md"])
def test_every_setting_is_in_the_readme_with_its_default(name: str) -> None:
    text = (ROOT / name).read_text()
    for field, info in Settings.model_fields.items():
        if field in DEVELOPMENT_ONLY:
            continue
        default = info.default
        shown = default.get_secret_value() if hasattr(default, "get_secret_value") else default
        shown = str(shown).lower() if isinstance(shown, bool) else str(shown)
        cell = f"`{shown}`" if shown else ""
        assert f"| `EVPOWER_{field.upper()}` | {cell} |" in text, f"EVPOWER_{field.upper()}"


def test_the_example_environment_names_every_setting_and_no_other() -> None:
    named = set(re.findall(r"EVPOWER_([A-Z0-9_]+)=", (ROOT / ".env.example").read_text()))
    wanted = {field.upper() for field in Settings.model_fields if field not in DEVELOPMENT_ONLY}
    assert named == wanted


async def test_every_query_of_the_runbook_runs(owner: Connection) -> None:
    text = (ROOT / "docs" / "runbook.md").read_text()
    blocks = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    queries = [part for block in blocks for part in block.split(";") if part.strip()]
    assert queries
    for query in queries:
        runnable = query
        for shown, value in IDS.items():
            runnable = runnable.replace(shown, value)
        await owner.fetch(
            re.sub(r"= …|<[a-z ]+ id>", lambda m: "= 1" if "=" in m[0] else "1", runnable)
        )


def test_every_metric_named_is_in_the_code() -> None:
    paths = [path for path in (ROOT / "src").rglob("*.py") if "node_modules" not in path.parts]
    paths += (ROOT / "supabase").rglob("*.sql")
    code = "".join(path.read_text() for path in paths)
    rules = [*(ROOT / "deploy").rglob("*.yml"), *(ROOT / "deploy").rglob("*.json")]
    for document in DOCUMENTS:
        for name in re.findall(r"`(evpower_[a-z_]+)", _of_today(document)):
            assert _of_code(name) in code, f"{document.name}: {name}"
    for rule in rules:
        for name in re.findall(r"\b(evpower_[a-z_]+)", rule.read_text()):
            assert _of_code(name) in code, f"{rule.name}: {name}"


def test_every_command_exists_to_its_last_word() -> None:
    command_line = r"(?:^|`|\$ |&& |; )evpower ((?:[a-z][a-z-]* ?)+)"
    tree: Any = get_command(app)
    for document in DOCUMENTS:
        for words in re.findall(command_line, _of_today(document), re.MULTILINE):
            command = tree
            for word in words.split():
                if not (group := getattr(command, "commands", None)):
                    break  # a command's arguments
                assert word in group, f"{document.name}: evpower {words}"
                command = group[word]


def test_every_setting_named_is_one() -> None:
    known = {f"EVPOWER_{field.upper()}" for field in Settings.model_fields}
    for document in DOCUMENTS:
        for name in set(re.findall(r"EVPOWER_[A-Z0-9_]+", _of_today(document))) - OF_TESTS:
            # One may end where others go on: EVPOWER_ODENGI_*.
            assert any(setting.startswith(name) for setting in known), f"{document.name}: {name}"


def test_every_target_of_make_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for document in DOCUMENTS:
        text = _of_today(document)
        blocks = "".join(re.findall(r"```\w*\n(.*?)```", text, re.DOTALL))
        named = re.findall(r"^make ([a-z-]+)", blocks, re.MULTILINE)
        for words in [*named, *re.findall(r"`make ([a-z -]+)`", text)]:
            assert set(words.split()) <= targets, f"{document.name}: make {words}"


def test_every_text_that_the_runbook_quotes_of_a_command_is_in_the_code() -> None:
    code = "".join(
        path.read_text() for path in SOURCE.rglob("*.py") if "node_modules" not in path.parts
    )
    code = re.sub(r'"\s*\n\s*f?"', "", code)  # a text over several lines
    page = re.sub(r"```.*?```", "", (ROOT / "docs" / "runbook.md").read_text(), flags=re.DOTALL)
    quoted = [text for text in re.findall(r"`([^`]+)`", page) if QUOTED.match(text)]
    parts = [part.strip() for text in quoted for part in LEFT_OUT.split(text)]
    assert len(quoted) > MIN_QUOTED
    assert [part for part in parts if part not in code] == []


def _of_today(document: Path) -> str:
    """Returns a page; of the changelog what is not released: earlier versions had other names."""
    text = document.read_text()
    return text.partition("\n## 0.1.0")[0] if document.name == "CHANGELOG.md" else text


def _of_code(metric: str) -> str:
    """Returns a metric without what the client library adds."""
    return re.sub(r"_(?:bucket|sum|count|total)$", "", metric)


def _slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", heading.strip().lower())).replace(" ", "-")


@cache
def _commands() -> frozenset[str]:
    root = get_command(app)
    names: set[str] = set()
    for name, command in getattr(root, "commands", {}).items():
        names.add(name)
        names |= {f"{name} {sub}" for sub in getattr(command, "commands", {})}
    assert isinstance(app, typer.Typer)
    return frozenset(names)
