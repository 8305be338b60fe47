"""What is known of a make of station: how it is called, what its numbers mean, what it can't do.

The profiles are the TOML files of `vendors/`. A file names what a station says of itself at its
boot, and the members in which this make differs from the default.
"""

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, Final, NamedTuple, cast

from evpower.stations.model import (
    DEFAULT_PROFILE,
    RATE_UNITS,
    REGISTER_KINDS,
    VERSIONS,
    VendorProfile,
)

RESET: Final = ""
_FOLDER: Final = "vendors"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_MATCH_MEMBERS: Final = frozenset({"vendor", "model", "firmware"})
_TAG_MAX: Final = 20
_TEXT_MAX: Final = 255
_LIST_MAX: Final = 50


class InvalidProfile(ValueError):
    """A profile can't be used; the text says which and why."""


class _Match(NamedTuple):
    vendor: str
    model: str
    firmware: str
    profile: VendorProfile


def vendor_profiles() -> Mapping[str, VendorProfile]:
    """Returns the profiles by name. Raises InvalidProfile."""
    return _loaded()[0]


@lru_cache(maxsize=4096)
def match_profile(vendor: str | None, model: str | None, firmware: str | None) -> VendorProfile:
    """Returns the profile of what a station says of itself; the longest match wins."""
    given = tuple(_fold(text) for text in (vendor, model, firmware))
    matching = [match for match in _loaded()[1] if _fits(match, given)]
    if not matching:
        return vendor_profiles()[DEFAULT_PROFILE]
    return max(matching, key=lambda match: sum(map(len, match[:3]))).profile


def override(profile: VendorProfile, members: Mapping[str, object]) -> VendorProfile:
    """Returns the profile with a station's own members. Raises InvalidProfile."""
    return replace(profile, **_read_members(profile.name, members))


def read_override(member: str, text: str) -> object:
    """Returns the value of a member that was given as a text, as its file would have it.

    None for `RESET`: it is as in the profile again. Raises InvalidProfile.
    """
    if member not in MEMBERS:
        raise InvalidProfile(f"there is no member {member!a:.80}: {', '.join(MEMBERS)}")
    if text == RESET:
        return None
    reader, value = _READERS[member], cast("object", text)
    if reader is _truth:
        value = {"true": True, "false": False}.get(text.strip().lower(), text)
    elif member in _NUMBERS:
        value = int(text) if text.isascii() and text.isdigit() and len(text) < _TAG_MAX else text
    elif reader in {_list, _measurands}:
        value = [part.strip() for part in text.split(",") if part.strip()]
    _read_members("the station's own", {member: value})
    return value


def given_text(member: str, value: bool | int | str | list[str]) -> str:  # noqa: FBT001 - a value
    """Returns a member's value of JSON as `read_override` takes it; a text is taken as it is.

    Raises InvalidProfile for a value of another kind than the member's: as texts they look alike.
    """
    if isinstance(value, str):
        return value
    if value == []:
        return RESET
    if member in MEMBERS:
        _read_members("the station's own", {member: value})
    if isinstance(value, list) and any("," in text for text in value):
        raise InvalidProfile(f"the station's own: {member} has a text with a comma")
    return override_text(value)


def override_text(value: object) -> str:
    """Returns a member's value as `read_override` takes it."""
    match value:
        case bool():
            return "true" if value else "false"
        case list() | tuple():
            return ",".join(map(str, cast("Sequence[object]", value)))
        case _:
            return str(value)


def check_choice(name: str | None, members: Iterable[tuple[str, str]]) -> None:
    """Raises InvalidProfile for a profile that is not there, or a member that can't be set."""
    if name is not None and name not in vendor_profiles():
        near = get_close_matches(name, vendor_profiles(), n=1)
        hint = f": is {near[0]} meant?" if near else f": {', '.join(sorted(vendor_profiles()))}"
        raise InvalidProfile(f"there is no profile {name!a:.80}{hint}")
    for member, text in members:
        read_override(member, text)


@cache
def _loaded() -> tuple[Mapping[str, VendorProfile], tuple[_Match, ...]]:
    profiles: dict[str, VendorProfile] = {}
    matches: list[_Match] = []
    folder = files("evpower.stations").joinpath(_FOLDER)
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        name, _, kind = entry.name.rpartition(".")
        if kind != "toml":
            continue
        profile, own = read_profile(name, entry.read_text("utf-8"))
        profiles[name] = profile
        matches += own
    if DEFAULT_PROFILE not in profiles:
        raise InvalidProfile(f"{_FOLDER}/{DEFAULT_PROFILE}.toml is missing")
    owners: dict[tuple[str, str, str], str] = {}
    for match in matches:
        other = owners.setdefault(match[:3], match.profile.name)
        if other != match.profile.name:
            raise InvalidProfile(f"{match.profile.name} and {other} match the same: {match[:3]}")
    return profiles, tuple(matches)


def read_profile(name: str, text: str) -> tuple[VendorProfile, list[_Match]]:
    """Returns a profile and what it matches, from its file's text. Raises InvalidProfile."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidProfile(f"{name}: is no TOML: {error}") from error
    if not _NAME.fullmatch(name):
        raise InvalidProfile(f"{name}: a name has lower-case letters, digits and hyphens")
    matches: object = document.pop("match", [])
    members = _read_members(name, document)
    profile = VendorProfile(name=name, **members)
    if not isinstance(matches, list):
        raise InvalidProfile(f"{name}: match must be a list, [[match]]")
    listed = cast("list[object]", matches)
    if bool(listed) == (name == DEFAULT_PROFILE):
        raise InvalidProfile(f"{name}: every profile but the default one needs a [[match]]")
    return profile, [_read_match(name, match, profile) for match in listed]


def _read_match(name: str, match: object, profile: VendorProfile) -> _Match:
    if not isinstance(match, dict):
        raise InvalidProfile(f"{name}: match must be a list, [[match]]")
    members = cast("dict[str, object]", match)
    if unknown := sorted(members.keys() - _MATCH_MEMBERS):
        raise InvalidProfile(f"{name}: match has no member {unknown[0]!a:.80}")
    texts = {key: _text(value) for key, value in members.items()}
    if any(not text for text in texts.values()) or not texts.keys() & {"vendor", "model"}:
        raise InvalidProfile(f"{name}: a match names a vendor or a model, none of them blank")
    folded = {key: _fold(texts.get(key)) for key in ("vendor", "model", "firmware")}
    return _Match(**folded, profile=profile)


def _read_members(name: str, members: Mapping[str, object]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for member, value in members.items():
        read = _READERS.get(member)
        if read is None:
            raise InvalidProfile(f"{name}: there is no member {member!a:.80}")
        try:
            values[member] = read(value)
        except ValueError as error:
            raise InvalidProfile(f"{name}: {member} {error}") from error
    return values


def _fits(match: _Match, given: tuple[str, ...]) -> bool:
    """Returns whether each text begins as the match says; a vendor's name ends there, too."""
    if not all(text.startswith(part) for text, part in zip(given, match[:3], strict=True)):
        return False
    return not given[0][len(match.vendor) :][:1].isalnum() or not match.vendor


def _fold(text: str | None) -> str:
    return " ".join((text or "").casefold().split())


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")  # noqa: TRY004 - of a file, not of a call
    return value


def _text(value: object, most: int = _TEXT_MAX) -> str:
    if not isinstance(value, str) or not value.isprintable() or len(value) > most:
        raise ValueError(f"must be a text of at most {most} characters")
    return value.strip()


def _tag(value: object) -> str | None:
    return _text(value, _TAG_MAX) or None


def _word(*words: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if value not in words:
            raise ValueError(f"is one of {', '.join(words)}")
        return cast("str", value)

    return read


def _number(least: int, most: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"must be a whole number from {least} to {most}")
        return value

    return read


def _list(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or len(cast("list[object]", value)) > _LIST_MAX:
        raise ValueError(f"must be a list of at most {_LIST_MAX} texts")
    return tuple(_text(entry) for entry in cast("list[object]", value))


def _measurands(value: object) -> tuple[str, ...]:
    listed = _list(value)
    if "Energy.Active.Import.Register" not in listed:
        raise ValueError("must have Energy.Active.Import.Register: bills come from it")
    return listed


_READERS: Final[Mapping[str, Callable[[object], Any]]] = {
    "ping": _truth,
    "settle_s": _number(0, 600),
    "fixed_tag": _tag,
    "rate_unit": _word(*RATE_UNITS),
    "stack_level": _number(0, 100),
    "zero_limit_stops": _truth,
    "measurands": _measurands,
    "sample_interval_s": _number(1, 3600),
    "trigger_allowed": _truth,
    "register_kind": _word(*REGISTER_KINDS),
    "local_clock": _truth,
    "version_pin": _word(*VERSIONS),
    "plug_first": _truth,
    "change_availability_allowed": _truth,
    "release_detection": _truth,
    "accept_data_transfer": _truth,
    "autostart_keys": _list,
    "notes": _list,
}
_NUMBERS: Final = frozenset({"settle_s", "stack_level", "sample_interval_s"})
MEMBERS: Final = tuple(member for member in _READERS if member != "notes")
