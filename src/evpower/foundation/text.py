"""Texts for other systems: what a database, a bank or JSON can't store is refused."""

import re
import unicodedata
from typing import Final

from evpower.foundation.errors import Invalid

_FORMULA: Final = re.compile(r"(^|;)(?= *[=+\-@\t\r])")
_FORBIDDEN: Final = {"Cc": "a control character", "Cs": "half of a character (a lone surrogate)"}


def flaw(text: str, *, most: int, lines: bool = False) -> str | None:
    """Returns what is wrong with a text, for its author; None: nothing. `most`: characters.

    `lines` allows line breaks and tabs.
    """
    if len(text) > most:
        return f"is longer than {most} characters"
    if text.isascii() and text.isprintable():
        return None
    for character in text:
        wrong = _FORBIDDEN.get(unicodedata.category(character))
        if wrong is not None and not (lines and character in "\t\n\r"):
            return f"has {wrong}"
    return None


def checked(text: str, name: str, *, most: int, lines: bool = False) -> str:
    """Returns the text. Raises Invalid("invalid_request") that names the field and the flaw."""
    wrong = flaw(text, most=most, lines=lines)
    if wrong is not None:
        raise Invalid("invalid_request", f"{name} {wrong}")
    return text


def spreadsheet_safe(text: str) -> str:
    """Returns a cell of CSV that no spreadsheet computes: an apostrophe stands before a formula.

    Also after a semicolon: where it separates cells, a spreadsheet opens a file of commas so, too.
    """
    return _FORMULA.sub(r"\1'", text)
