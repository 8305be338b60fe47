"""The table of kinds: whole, in three languages, in docs/alerts.md, and each kind opened."""

import re
from pathlib import Path
from typing import get_args

import pytest

from evpower.alerts.kinds import KINDS, LANGUAGES, AlertKind, facts_of

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "evpower"
_CYRILLIC = re.compile(r"[\u0400-\u04ff]")


def test_every_kind_that_can_be_opened_is_in_the_table_and_no_other() -> None:
    assert set(get_args(AlertKind)) == set(KINDS)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_kind_has_its_texts_in_every_language(kind: str) -> None:
    facts = KINDS[kind]
    assert facts.severity in {"grave", "warning", "info"}
    for texts in (facts.title, facts.act):
        assert set(texts) == set(LANGUAGES)
        assert all(text.strip() == text and text for text in texts.values())
        for language in ("ru", "ky"):
            assert _CYRILLIC.search(texts[language])
        assert len(set(texts.values())) == len(LANGUAGES)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_kind_is_opened_somewhere(kind: str) -> None:
    sources = (
        path.read_text() for path in SOURCE.rglob("*.py")
        if "node_modules" not in path.parts and path.name != "kinds.py"
    )  # fmt: skip
    assert any(f'"{kind}"' in source for source in sources)


def test_the_page_has_each_kind_with_its_severity_and_when_it_closes() -> None:
    text = (ROOT / "docs" / "alerts.md").read_text()
    row = re.compile(
        r"^\| `([a-z_]+)` \| (grave|warning|info) \| ([^|]+) \| [^|]+ \| [^|]+ \|$", re.MULTILINE
    )
    listed = {kind: (severity, closes) for kind, severity, closes in row.findall(text)}
    assert set(listed) == set(KINDS)
    for kind, (severity, closes) in listed.items():
        after = KINDS[kind].closes_after
        hours = None if after is None else round(after.total_seconds() / 3600)
        assert severity == KINDS[kind].severity, kind
        assert closes.startswith(f"{hours} h unseen") == (hours is not None), kind


def test_a_kind_of_a_newer_version_is_shown_by_its_name() -> None:
    facts = facts_of("meteor_strike")
    assert (facts.severity, facts.title["ru"], facts.closes_after) == (
        "warning", "meteor strike", None,
    )  # fmt: skip
