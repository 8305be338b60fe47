"""Reads names that operators and drivers see: each has something to see, none turns a text round.

Joiners and marks within a name stay: emoji, Persian and Indic words are written with them.
"""

import unicodedata
from typing import Final

from evpower.foundation.text import flaw

# Letters and symbols that are drawn as nothing: fillers of Hangul, an empty cell of Braille.
_BLANK: Final = frozenset("\u115f\u1160\u2800\u3164\uffa0\ufffc\U0001d159")
_TURNING: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_LINES: Final = frozenset("\u2028\u2029")
# At an end none of these joins anything. A flag of emoji ends in a tag, which stays.
_EDGE: Final = (
    "".join(_BLANK) + "\u00ad\u034f\u200b\u200c\u200d\u200e\u200f\u2060\u2063\u2064\ufeff"
)
_SEEN: Final = frozenset("LNPS")  # categories: letters, numbers, punctuation, symbols


def trim_name(text: str) -> str:
    """Returns a text without white space and what can't be seen at its ends."""
    if text.isascii():
        return text.strip()
    before = None
    while text != before:
        before, text = text, text.strip().strip(_EDGE)
    return text


def name_flaw(text: str, *, most: int) -> str | None:
    """Returns what is wrong with a name, for its author; None: nothing. `most`: characters."""
    if wrong := flaw(text, most=most):
        return wrong
    if not _TURNING.isdisjoint(text):
        return "has a character that turns the direction of the text"
    if not _LINES.isdisjoint(text):
        return "has a line break"
    return None if has_visible(text) else "has no character that can be seen"


def has_visible(text: str) -> bool:
    """Returns whether a text has a character that is drawn by itself: no mark, no space."""
    return any(
        character not in _BLANK and unicodedata.category(character)[0] in _SEEN
        for character in text
    )


def without_turning(text: str) -> str:
    """Returns a text without characters that turn the direction of what is written after them."""
    return text if text.isascii() else "".join(c for c in text if c not in _TURNING)
