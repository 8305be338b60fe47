"""Emails, phones and names have one stored form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evpower.identity.contact import clean_name, normal_email, phone_as_typed, phone_from_auth


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "+",
        "12",
        "+996",
        "+996123",
        "0555",
        "driver",
        "+996 555 CALL-ME",
        "0555123456 ext 5",
        "+1 555 555 0100 1",
        "9" * 40,
        "+٩٩٦٥٥٥١٢٣٤٥٦",
        "0555123456;drop",
        "+0996555123456",
        "\x00",
    ],
)
def test_a_text_that_is_no_phone_is_refused(raw: str) -> None:
    assert phone_as_typed(raw) is None


@pytest.mark.parametrize(
    ("raw", "stored"),
    [
        (" Driver.One+ev@Example.KG ", "driver.one+ev@example.kg"),
        ("a@b.co", "a@b.co"),
        ("o'neil@ex-ample.kg", "o'neil@ex-ample.kg"),
    ],
)
def test_email_is_stored_in_lower_case(raw: str, stored: str) -> None:
    assert normal_email(raw) == stored


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "a",
        "a@",
        "@b.kg",
        "a@b",
        "a@@b.kg",
        "a b@c.kg",
        "a@b..kg",
        ".a@b.kg",
        "a.@b.kg",
        "a..b@c.kg",
        "a@-b.kg",
        "a@b-.kg",
        "<a@b.kg>",
        "a@b.kg\n,c@d.kg",
        "İ@b.kg",
        "a@бек.kg",
        "a" * 65 + "@b.kg",
        "a@" + "b." * 130 + "kg",
        "a\x00@b.kg",
        "a@[127.0.0.1]",
    ],
)
def test_a_text_that_is_no_email_is_refused(raw: str) -> None:
    assert normal_email(raw) is None


@given(st.text(max_size=2000) | st.text("+0123456789 ()-./", max_size=40))
def test_no_text_crashes_the_readers(text: str) -> None:
    normal_email(text)
    for read in (phone_as_typed, phone_from_auth):
        phone = read(text)
        assert phone is None or phone_from_auth(phone) == phone_as_typed(phone) == phone
    name = clean_name(text)
    assert name is None or (1 <= len(name) <= 200 and "\0" not in name)
    assert name is None or name.encode()


def test_name_is_one_clean_line() -> None:
    assert clean_name(" Бек \t\n  Азиз\u2028\0 ") == "Бек Азиз"
    assert clean_name("\ud800") is None
    assert clean_name("x" * 500) == "x" * 200
