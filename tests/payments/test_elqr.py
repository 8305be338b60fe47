"""ELQR: fields are parsed in any order, and a text that is not the bill's is refused."""

import hashlib
from collections.abc import Mapping
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evpower.payments.providers.elqr import NotElqr, checksum, read_elqr, verified_elqr

AMOUNT = 12_550
SERVICE = {"00": "qr.example.kg", "01": "20", "11": "001234567890", "12": "12", "13": "12"}
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=25)


def fields(values: Mapping[str, str]) -> str:
    return "".join(f"{tag}{len(value):02}{value}" for tag, value in values.items())


def signed(values: Mapping[str, str]) -> str:
    text = fields(values)
    return text + "6304" + hashlib.sha256(text.encode()).hexdigest()[-4:]


def bill(
    amount: object = AMOUNT, *, service: Mapping[str, str] = SERVICE, **more: str
) -> dict[str, str]:
    """The fields of a bill; further fields and those that differ as `t59="a name"`."""
    values = {"00": "01", "01": "12", "32": fields(service), "52": "5552", "53": "417"}
    values |= {"54": str(amount), "59": "EvPower"}
    return values | {tag[1:]: value for tag, value in more.items()}


def elqr_flaw(text: str, *, amount_minor: int) -> str | None:
    """Why the text is refused; None: it is shown."""
    try:
        verified_elqr(text, amount_minor=amount_minor)
    except NotElqr as error:
        return str(error)
    return None


def flaw(values: Mapping[str, str], amount_minor: int = AMOUNT) -> str | None:
    return elqr_flaw(signed(values), amount_minor=amount_minor)


class TestVerified:
    def test_a_bill_with_and_without_a_bank_s_address(self) -> None:
        text = signed(bill())
        for shown in (text, f"https://api.dengi.o.kg/#{text}", f"https://app.mbank.kg/qr/#{text}"):
            assert elqr_flaw(shown, amount_minor=AMOUNT) is None

    def test_fields_in_another_order(self) -> None:
        values = bill()
        first = {"00": values["00"]}
        turned = first | {tag: values[tag] for tag in reversed(values) if tag != "00"}
        assert list(turned) != list(values)
        assert flaw(turned) is None

    def test_a_checksum_in_capitals(self) -> None:
        text = signed(bill())
        assert elqr_flaw(text[:-4] + text[-4:].upper(), amount_minor=AMOUNT) is None

    def test_a_name_in_cyrillic_raw_and_percent_encoded(self) -> None:
        text = signed(bill(t59="«Эл Кубат» №1"))
        assert elqr_flaw(text, amount_minor=AMOUNT) is None
        encoded = f"https://pay.payqr.kg/#{quote(text)}"
        assert verified_elqr(encoded, amount_minor=AMOUNT) == f"https://pay.payqr.kg/#{text}"

    def test_a_percent_sign_that_encodes_nothing(self) -> None:
        for name in ("100% ток", "5%41", "%ff"):
            assert elqr_flaw(signed(bill(t59=name)), amount_minor=AMOUNT) is None

    def test_a_value_that_looks_like_the_checksum_s_head(self) -> None:
        assert flaw(bill(t34="6304abcd", t59="6304")) is None

    def test_a_missing_currency_is_the_som(self) -> None:
        values = bill()
        del values["53"]
        assert flaw(values) is None


class TestRefused:
    @pytest.mark.parametrize("amount", ["12551", "125.50", "-12550", "+12550", "1255 0", "", "0"])
    def test_another_amount(self, amount: str) -> None:
        assert flaw(bill(amount)) == "holds another amount"

    def test_digits_of_another_script(self) -> None:
        assert flaw(bill("\u0661\u0662\u0665\u0665\u0660")) == "holds another amount"

    def test_no_amount(self) -> None:
        values = bill()
        del values["54"]
        assert flaw(values) == "holds another amount"

    @pytest.mark.parametrize("editable", ["11", "", "1", "012"])
    def test_an_amount_the_payer_can_edit(self, editable: str) -> None:
        assert flaw(bill(service=SERVICE | {"12": editable})) == "lets the payer edit the amount"

    def test_an_amount_not_said_to_be_fixed(self) -> None:
        service = {tag: value for tag, value in SERVICE.items() if tag != "12"}
        assert flaw(bill(service=service)) == "lets the payer edit the amount"
        values = bill()
        del values["32"]
        assert flaw(values) == "lets the payer edit the amount"

    def test_the_tag_12_of_another_level(self) -> None:
        service = {tag: value for tag, value in SERVICE.items() if tag != "12"}
        assert flaw(bill(service=service, t12="12")) == "lets the payer edit the amount"

    def test_another_currency_and_another_version(self) -> None:
        assert flaw(bill(t53="840")) == "holds another currency"
        assert flaw(bill() | {"00": "02"}) == "is of an unknown version"

    def test_an_amount_twice(self) -> None:
        text = fields(bill(100)) + fields({"54": str(AMOUNT)})
        text += "6304" + checksum(text)
        assert elqr_flaw(text, amount_minor=AMOUNT) == "has field 54 twice"

    def test_fields_behind_the_checksum(self) -> None:
        text = signed(bill()) + fields({"54": "1"})
        with pytest.raises(NotElqr, match="twice"):
            read_elqr(text)
        with pytest.raises(NotElqr, match="does not end in a checksum"):
            read_elqr(signed(bill()) + fields({"64": "1"}))

    def test_a_checksum_of_another_kind(self) -> None:
        text = fields(bill())
        for wrong in ("0000", hashlib.sha256((text + "6304").encode()).hexdigest()[-4:]):
            assert elqr_flaw(f"{text}6304{wrong}", amount_minor=AMOUNT) == "has a wrong checksum"

    @pytest.mark.parametrize(
        "text",
        ["", "#", "0002", "https://o.kg/", "https://o.kg/#", "00020", "000201", "0099x", "00x201",
         "\u0660\u0660\u0660\u066201", "000201" * 1000, "\ud800", "00020163041"],
    )  # fmt: skip
    def test_what_is_no_elqr(self, text: str) -> None:
        assert elqr_flaw(text, amount_minor=AMOUNT) is not None


@given(
    amount=st.integers(1, 10**11),
    name=NAMES,
    comment=NAMES,
    address=st.sampled_from(["", "https://api.dengi.o.kg/#"]),
)
def test_any_bill_is_read_as_it_was_written(
    amount: int, name: str, comment: str, address: str
) -> None:
    values = bill(amount, t34=comment, t59=name)
    text = signed(values)
    read = read_elqr(address + text)
    assert read.fields == values | {"63": text[-4:]}
    assert read.service == SERVICE
    assert read.is_intact
    assert elqr_flaw(address + text, amount_minor=amount) is None
    assert elqr_flaw(address + quote(text), amount_minor=amount) is None
    assert elqr_flaw(address + text, amount_minor=amount + 1) is not None


@pytest.mark.parametrize("address", ["", "https://api.dengi.o.kg/#"])
def test_a_bill_cut_at_any_character_is_refused(address: str) -> None:
    text = address + signed(bill())
    for length in range(len(text)):
        assert elqr_flaw(text[:length], amount_minor=AMOUNT) is not None


@given(text=st.text(max_size=120) | st.from_regex(r"(0[0-9]|32|54|63)[0-9]{2}[0-9#]{0,30}"))
def test_any_text_is_answered(text: str) -> None:
    assert isinstance(elqr_flaw(text, amount_minor=1), str)
