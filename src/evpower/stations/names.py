"""Names of stations: how they are written, and the form in which two of them are compared."""

import unicodedata
from typing import Final

from evpower.foundation.errors import Invalid
from evpower.foundation.names import has_visible
from evpower.foundation.text import flaw
from evpower.stations.model import NameKind

_ID_MAX: Final = 50
_NAME_MAX: Final = 255  # some stations report serial numbers far above the protocol's limit


def key_of(name: str) -> str:
    """Returns the name as names are compared: without case and without forms of one character."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name.strip()).casefold())


def checked_name(name: str, kind: NameKind = "ocpp") -> str:
    """Returns the name. Raises Invalid("station_invalid"), which says what is wrong with it.

    A name of a socket is printable: a station sends it percent-encoded, with slashes too.
    """
    most = _ID_MAX if kind == "ocpp" else _NAME_MAX
    wrong = flaw(name, most=most)
    if not name.strip():
        wrong = "is empty"
    elif name != name.strip():
        wrong = "begins or ends with white space"
    elif wrong is None and not (name.isprintable() and has_visible(name)):
        wrong = "has a character that can't be seen"
    elif wrong is None and not key_of(name):
        wrong = "has no character that counts"
    elif wrong is None and kind == "ocpp" and name.strip("/.") == "":
        wrong = "is a path, and names nothing"
    if wrong is not None:
        raise Invalid("station_invalid", f"the {_LABELS[kind]} {name!a:.80} {wrong}")
    return name


_LABELS: Final[dict[NameKind, str]] = {
    "ocpp": "station id",
    "old_id": "old id",
    "serial": "serial number",
    "post_code": "post code",
}
