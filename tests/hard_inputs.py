"""Inputs that readers of other projects got wrong, and what each is."""

from collections.abc import Mapping
from datetime import UTC, datetime

HOME = "+996555123456"

# What a person types, and what it is; None: no phone, or not plainly which.
TYPED_PHONES: Mapping[str, str | None] = {
    "+996 555 123456": HOME,
    "0555123456": HOME,
    "555123456": HOME,
    "996555123456": HOME,
    "00996555123456": HOME,
    "9960555123456": HOME,
    "+996 (0) 555 12-34-56": HOME,
    "(0555) 12-34-56": HOME,
    "+996.555.123.456": HOME,
    "0555/123456": HOME,
    "\u202a+996\u00a0555\u00a0123\u2011456\u202c": HOME,  # pasted from a phone's contacts
    "\ufeff0555 123456\u200e": HOME,
    " 0555  123456 ": HOME,
    "508849985": "+996508849985",  # Saint-Pierre, were it international
    "700000001": "+996700000001",
    "199123456": "+996199123456",  # a prefix the library does not know
    "8001234567": "+9968001234567",  # ten digits, and valid
    "+7 701 123 45 67": "+77011234567",
    "77011234567": "+77011234567",
    "+508849985": "+508849985",
    "123456": None,  # dialled within a town
    "+996123456": None,
    "12345": None,
    "05551234567": None,  # a digit too many
    "5551234567": None,
    "+9965551234567": None,
    "55512345": None,  # a digit too few
    "+99655512345": None,
    "996555123456.0": None,  # a spreadsheet's
    "555123456.00": None,
    "555123456.000": None,
    "5.55123456E8": None,
    "555,123456": None,
    "555123456-": None,
    "-555123456": None,
    "0555 123456 /": None,
    "996555123456 (1)": None,
    "0555123456 (12)": None,
    "0555123456 ext 5": None,
    "0555123456;0700123456": None,
    "++996555123456": None,
    "+0996555123456": None,
    "+4712345678": None,  # possible, not valid
    "0000000000": None,
    "\u0660\u0665\u0665\u0665\u0661\u0662\u0663\u0664\u0665\u0666": None,
    "\uff10\uff15\uff15\uff15\uff11\uff12\uff13\uff14\uff15\uff16": None,
    "9" * 64: None,
    "phone": None,
    "\ud83d0555123456": None,
}
# What Supabase Auth stores.
AUTH_PHONES: Mapping[str, str | None] = {
    "996555123456": HOME,
    "+996555123456": HOME,
    "508849985": "+508849985",
    "77011234567": "+77011234567",
    "0555123456": None,
    "996123456": None,
    "9965551234567": None,
    "4712345678": None,
    "996 555 123456": None,
    "99655512345\uff16": None,
}
EMAILS: Mapping[str, str | None] = {
    "Driver@Example.KG": "driver@example.kg",
    " driver@example.kg\u00a0": "driver@example.kg",
    "driver\u200b@example.kg\ufeff": "driver@example.kg",
    "o'neil+ev@ex-ample.kg": "o'neil+ev@ex-ample.kg",
    "a@xn--80aswg.kg": "a@xn--80aswg.kg",
    "a@\u0431\u0435\u043a.kg": None,
    "\u0430@example.kg": None,  # a Cyrillic letter
    "\u0130@example.kg": None,
    "driver\uff20example.kg": None,
    "dri\u00a0ver@example.kg": None,
    "driver@example": None,
    "driver@@example.kg": None,
    "driver@example.kg,b@c.kg": None,
    "<driver@example.kg>": None,
    "a@[127.0.0.1]": None,
    "a" * 64 + "@example.kg": "a" * 64 + "@example.kg",
    "a" * 65 + "@example.kg": None,
    "a@" + "b." * 126 + "kg": None,
    "driver\n@example.kg": None,
    "\ud83d@example.kg": None,
}
# Texts of amounts, in tyiyn; None: refused.
AMOUNTS: Mapping[str, int | None] = {
    "250.50": 25_050,
    "250": 25_000,
    "250.5": 25_050,
    "007": 700,
    "0.01": 1,
    "10.000": 1_000,
    "1000000000": 100_000_000_000,
    "1000000000.01": None,
    "1_000": None,
    "1e2": None,
    "1E2": None,
    "\uff11\uff10\uff10": None,
    "\u0661\u0660\u0660": None,
    "1 000": None,
    "1\u00a0000": None,
    "1,000": None,
    "12,5": None,
    "+5": None,
    "\u22125": None,
    "5.": None,
    ".5": None,
    "0x10": None,
    "NaN": None,
    "Infinity": None,
    "sNaN": None,
    "--5": None,
    "five": None,
    "9" * 31: None,
    "\ud83d": None,
}
# Exact amounts alone: what can't be paid is refused, and never rounded.
INEXACT = {"0.001", "12.345", "0." + "0" * 40 + "1", "1." + "0" * 45 + "1"}
JSON_AMOUNTS: Mapping[str, int | None] = {
    "250.50": 25_050,
    "250": 25_000,
    "2.5e2": 25_000,  # as JSON writes a number, and JavaScript a large one
    "1e-1": 10,
    "0.001": None,
    "1e-7": None,
    "1e999999": None,
    "1000000000.01": None,
    "true": None,
    "null": None,
    "[]": None,
    '"five"': None,
    '"1_000"': None,
    '"1e2"': None,
}
# JSON that a float rounds to an amount; what reads the text refuses it.
ROUNDED_AMOUNTS = ["100.00000000000000000000000000001", "1e-999999"]
NOON = datetime(2025, 9, 25, 12, tzinfo=UTC)
TIMES: Mapping[str, datetime | None] = {
    "2025-09-25T12:00:00Z": NOON,
    "2025-09-25T12:00:00.000000Z": NOON,
    "2025-09-25T12:00:00.0000009999Z": NOON,
    "2025-09-25T12:00Z": NOON,
    "2025-09-25t12:00:00z": NOON,
    "2025-09-25 18:00:00+06": NOON,
    "2025-09-25T18:00:00+06:00": NOON,
    "2025-09-25T18:00:00+0600": NOON,
    "2016-12-31T23:59:60Z": datetime(2017, 1, 1, tzinfo=UTC),
    "2025-09-25T12:34:60Z": None,
    "2025-02-29T12:00:00Z": None,
    "2025-09-25T24:00:00Z": None,
    "2025-09-25T12:00:00+24:00": None,
    "2025-W39-4T12:00:00Z": None,
    "20250925T120000Z": None,
    "275760-09-13T00:00:00Z": None,
    "0001-01-01T00:00:00+06:00": None,
    "9999-12-31T23:59:59-01:00": None,
    "0044-03-15 00:00:00+00 BC": None,
    "infinity": None,
    "-infinity": None,
    "yesterday": None,
    "\u0662\u0660\u0662\u0665-09-25T12:00:00Z": None,
    "1758801600": None,
}
NO_ZONE = "2025-09-25T12:00:00"
# What no other system can hold.
BROKEN_TEXTS = ["\ud83d", "half \udc00 of it", "a\0b", "a\x1bb", "a\x7fb"]
