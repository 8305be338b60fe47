"""Emails, phones and names as we store them."""

import re
import unicodedata
from typing import Final

import phonenumbers

REGION: Final = "KG"  # of a phone written without its country
_KG_CODE: Final = 996
_EMAIL: Final = re.compile(
    r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])"
)
_EMAIL_MAX: Final = 254  # RFC 5321 4.5.3.1.3
_LOCAL_MAX: Final = 64
_PHONE: Final = re.compile(r"\+?[0-9 ()./-]{4,32}")
_E164: Final = re.compile(r"\+[1-9][0-9]{6,14}")
_NAME_MAX: Final = 200


def normal_email(raw: str) -> str | None:
    """Lower case, ASCII; None when it is no address that mail reaches."""
    text = raw.strip()
    if not text.isascii():  # before: some other letter becomes an ASCII one when it is made small
        return None
    text = text.lower()
    if len(text) > _EMAIL_MAX or len(text.partition("@")[0]) > _LOCAL_MAX:
        return None
    return text if _EMAIL.fullmatch(text) else None


def normal_phone(raw: str) -> str | None:
    """E.164; a number without its country is read as Kyrgyz. None when it is no phone number."""
    text = raw.strip()
    if not _PHONE.fullmatch(text):
        return None
    try:
        number = phonenumbers.parse(text, REGION)
    except phonenumbers.NumberParseException:
        return None
    # At home the length is enough: operators get new prefixes before the library learns of them.
    at_home = number.country_code == _KG_CODE and phonenumbers.is_possible_number(number)
    if not (at_home or phonenumbers.is_valid_number(number)):
        return None
    formatted = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return formatted if _E164.fullmatch(formatted) else None


def clean_name(raw: str) -> str | None:
    """One line, no control characters or broken Unicode, at most 200 long; None if empty."""
    kept = (
        " " if unicodedata.category(c) in {"Cc", "Zl", "Zp"} else c for c in raw[: 4 * _NAME_MAX]
    )
    text = "".join(c for c in kept if unicodedata.category(c) != "Cs")
    return " ".join(text.split())[:_NAME_MAX].strip() or None
