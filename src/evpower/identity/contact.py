"""Normalizes emails, phones and names into the form in which they are stored and compared."""

import re
import unicodedata
from typing import Final

from evpower.foundation.names import has_visible, trim_name, without_turning

_HOME: Final = "996"  # Kyrgyzstan: the country of a phone written without one
_HOME_CODE: Final = int(_HOME)
_HOME_DIGITS: Final = 9
_NATIONAL_MAX: Final = 10  # digits; a longer number without "+" begins with its country
_TYPED_MAX: Final = 64  # characters
_EMAIL: Final = re.compile(
    r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])"
)
_EMAIL_MAX: Final = 254  # RFC 5321 4.5.3.1.3
_LOCAL_MAX: Final = 64
_E164: Final = re.compile(r"\+[1-9][0-9]{6,14}")
_FROM_AUTH: Final = re.compile(r"\+?([1-9][0-9]{6,14})")
# Groups of digits with one separator between them; an operator's code may be in brackets if another
# group follows. A separator at an end means a truncated number, "(1)" there a copied file's name.
_TYPED: Final = re.compile(
    r"(\+ ?)?(?:[0-9]+[ -]?)?(?:\((?:0|[0-9]{2,5})\)[ -]?)?[0-9]+(?:(?: ?[-./] ?| )[0-9]+)*"
)
# What a spreadsheet adds to a number: ".0", ".00".
_DECIMALS: Final = re.compile(r"\. ?[0-9]$|^[^.]*\. ?(?:[0-9]{2}|0+)$")
_DASHES: Final = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2212"), "-")
_NAME_MAX: Final = 200


def normal_email(raw: str) -> str | None:
    """Returns the address in lower case, ASCII; None if it is no valid address.

    A domain with other letters is refused, as Supabase Auth does; its xn-- form is accepted.
    """
    text = _without_invisible(raw).strip()
    if not text.isascii():  # checked first: lower() turns some other letters into ASCII ones
        return None
    text = text.lower()
    if len(text) > _EMAIL_MAX or len(text.partition("@")[0]) > _LOCAL_MAX:
        return None
    return text if _EMAIL.fullmatch(text) else None


def phone_from_auth(raw: str) -> str | None:
    """Returns E.164 of a phone as Supabase Auth stores it: digits with the country, without "+"."""
    match = _FROM_AUTH.fullmatch(raw)
    return _checked(f"+{match[1]}") if match else None


def phone_as_typed(raw: str) -> str | None:
    """Returns E.164 of a phone as a person writes it; without "+", Kyrgyzstan is tried first.

    None if it is no phone number, or if it is ambiguous.
    """
    text = _plain_spaces(_without_invisible(raw)).translate(_DASHES)
    match = _TYPED.fullmatch(text) if len(text) <= _TYPED_MAX else None
    if match is None or _DECIMALS.search(text):
        return None
    digits = re.sub(r"[^0-9]", "", text)
    if match[1]:
        return _checked(f"+{digits}")
    if digits.startswith("00"):
        return _checked(f"+{digits[2:]}")
    national = digits.removeprefix("0")
    if len(national) <= _NATIONAL_MAX:
        return _checked(f"+{_HOME}{national}") if len(national) >= _HOME_DIGITS else None
    return _checked(f"+{digits}")


def clean_name(raw: str) -> str | None:
    """Returns one line without control characters and surrogates, at most 200.

    None if nothing of it can be seen.
    """
    one_line = (
        " " if unicodedata.category(c) in {"Cc", "Zl", "Zp"} else c for c in raw[: 4 * _NAME_MAX]
    )
    text = "".join(c for c in one_line if unicodedata.category(c) != "Cs")
    name = trim_name(" ".join(without_turning(text).split())[:_NAME_MAX])
    return name if has_visible(name) else None


def _checked(number: str) -> str | None:
    """Returns E.164 of a number that begins with "+"; None if it is not valid."""
    if not _E164.fullmatch(number):
        return None
    import phonenumbers  # of all the commands few read a phone

    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return None
    # In Kyrgyzstan nine digits are enough: new prefixes are in use before the library knows them.
    # Numbers of five and six digits, which the library accepts too, are dialled within a town only.
    national = phonenumbers.national_significant_number(parsed)
    new_prefix = parsed.country_code == _HOME_CODE and len(national) == _HOME_DIGITS
    if not (new_prefix or phonenumbers.is_valid_number(parsed)):
        return None
    formatted = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
    return formatted if _E164.fullmatch(formatted) else None


def _without_invisible(raw: str) -> str:
    """Removes invisible characters of pasted text: direction marks, joiners, byte order marks."""
    if raw.isascii():
        return raw
    return "".join(c for c in raw if unicodedata.category(c) != "Cf")


def _plain_spaces(text: str) -> str:
    """Replaces runs of spaces of any width by one plain space, and strips the ends."""
    spaced = "".join(" " if unicodedata.category(c) == "Zs" else c for c in text)
    return re.sub(" +", " ", spaced.strip())
