"""One-time tags of starts by app, and how a station's echo of one is compared."""

import re
import secrets
from typing import Final

from evpower import identity

# No card's UID has this length; some stations read past a tag of 20 characters.
TAG_LENGTH: Final = 12
_HEX: Final = frozenset("0123456789ABCDEF")
_SHORTEST_ECHO: Final = 6  # of a tag that a station cut
# What the old backend sent in place of a tag; it ends sessions of the switch and begins none.
_PHONE_TAG: Final = re.compile(r"\+[0-9]+|996[0-9]{9}|CLIENT_.*", re.IGNORECASE)


def new_tag() -> str:
    """Returns a tag of 12 characters of 0-9A-F."""
    return secrets.token_hex(TAG_LENGTH // 2).upper()


def is_tag(text: str) -> bool:
    """Returns whether a text has the form of a one-time tag."""
    return len(text) == TAG_LENGTH and _HEX.issuperset(text)


def fold_tag(tag: str) -> str:
    """Returns the tag as tags are compared, in the upper case of one-time tags."""
    return identity.fold_id_tag(tag).upper()


def is_phone_tag(tag: str) -> bool:
    """Returns whether a tag is one that the old backend made of a driver's phone or id."""
    return any(map(_PHONE_TAG.fullmatch, (tag.strip(), identity.fold_id_tag(tag))))


def is_echo_of(folded: str, tag: str) -> bool:
    """Returns whether a station may mean this one-time tag: some add characters, some cut it."""
    return folded.startswith(tag) or (len(folded) >= _SHORTEST_ECHO and tag.startswith(folded))
