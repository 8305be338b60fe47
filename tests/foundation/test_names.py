"""A name has something to see, turns no text round, and is written in any script or in emoji."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evpower.foundation.names import name_flaw, trim_name
from evpower.identity import clean_name

UNSEEN = [
    "", " ", "\u00a0", "\u3000", "\u200b", "\u200d", "\ufeff", "\u00ad", "\u2060", "\u2800",
    "\u3164", "\uffa0", "\u115f\u1160", "\u034f", "\ufe0f", "\u0301", "\u20dd", "\u0903",
    "\u17b4", "\U000e0041", "\U0001d159", "\ufffc", "\ue000", "\U0010ffff", " \u200b\u3164 ",
]  # fmt: skip
REFUSED = {
    "a\x00": "a control character",
    "a\nb": "a control character",
    "a\x85b": "a control character",
    "a\ud800": "a lone surrogate",
    "a\u2028b": "a line break",
    "cash\u202egro.knab": "turns the direction",
    "\u2066a\u2069": "turns the direction",
    "x" * 201: "is longer than 200",
}
NAMES = [
    "7", "-", "Бишкек Парк", "Ысык-Көл", "e\u0301lan", "हिन्दी", "\u0628\u0627\u0632\u0627\u0631",
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "ကမ္ဘာ", "กำ", "👨\u200d👩\u200d👧",
    "1\ufe0f\u20e3",
    "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", "❤\ufe0f", "\u0600\u0661",
    "שלום \u200e(5)", "x" * 200,
]  # fmt: skip


@pytest.mark.parametrize("text", UNSEEN, ids=ascii)
def test_a_name_that_can_not_be_seen_is_refused(text: str) -> None:
    assert name_flaw(text, most=200) == "has no character that can be seen"
    assert clean_name(text) is None


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: ascii(text)[:20])
def test_what_breaks_or_turns_a_line_is_refused(text: str) -> None:
    assert REFUSED[text] in (name_flaw(text, most=200) or "")


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:20])
def test_a_name_in_any_script_stays_as_it_is(name: str) -> None:
    assert name_flaw(name, most=200) is None
    assert trim_name(f" \u200b\ufeff{name}\u2060 \u3164") == clean_name(name) == name


def test_a_clients_name_loses_what_turns_it() -> None:
    assert clean_name("Бек\u202e Азиз\u200b") == "Бек Азиз"


@given(st.text(st.sampled_from("a\u0301 \u200b\u200d\u202e\u2800\n\ud800👩"), max_size=8))
def test_what_is_cleaned_is_a_name_and_is_not_cleaned_again(text: str) -> None:
    name = clean_name(text)
    assert name is None or (name_flaw(name, most=200), clean_name(name)) == (None, name)
