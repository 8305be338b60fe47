"""A provider's report as a file: whatever its columns are called, and whatever is wrong with it."""

from datetime import UTC, datetime
from typing import Literal

import pytest

from evpower.payments.providers.report import (
    MAX_BYTES,
    ReportColumns,
    ReportError,
    parse_columns,
    read_report,
)
from tests.hard_inputs import AMOUNTS, INEXACT, TIMES

OWN = "trans_id;order_id;amount;date_pay;status\n"
BISHKEK_NOON = datetime(2026, 12, 1, 6, tzinfo=UTC)
BISHKEK_MIDNIGHT = datetime(2026, 11, 30, 18, tzinfo=UTC)
# A report groups thousands by a space and may have a decimal comma. More than two decimals may be
# thousands, as in 10.000.
IN_SOM = {
    **AMOUNTS,
    **dict.fromkeys(sorted(INEXACT)),
    "1 000": 100_000,
    "1\u00a0000": 100_000,
    "1 234 567,89": 123_456_789,
    "1234567.8": 123_456_780,
    "12,5": 1_250,
    "10.000": None,
    "12,340": None,
    "1,000,000": None,
    "1.000.000": None,
    "1,000.50": None,
    "1 00": None,
    "1  000": None,
    "1000 000": None,
    "1000 000 000,01": None,
    "100.00000000000000000000000000001": None,
    "-1": None,
    "12 ": 1_200,
    "": None,
}
IN_TYIYN = {
    **dict.fromkeys(IN_SOM),
    "250": 250,
    "007": 7,
    "12 ": 12,
    "1 000": 1_000,
    "1\u00a0000": 1_000,
    "1000000000": 1_000_000_000,
    "100 000 000 000": 100_000_000_000,
    "100 000 000 001": None,
    "500.00": None,  # that is som
}
REPORT_TIMES = {
    **TIMES,
    "2026-12-01T12:00:00": BISHKEK_NOON,
    "2026-12-01 12:00": BISHKEK_NOON,
    "2026-12-01": BISHKEK_MIDNIGHT,
    "01.12.2026": BISHKEK_MIDNIGHT,
    "1.12.2026": BISHKEK_MIDNIGHT,
    "01.12.2026 12:00:00": BISHKEK_NOON,
    "01.12.2026 12:00": BISHKEK_NOON,
    "1.12.2026 9:05": datetime(2026, 12, 1, 3, 5, tzinfo=UTC),
    "29.02.2026": None,
    "12.31.2026": None,
    "01.12.26": None,
    "01/12/2026": None,
    "01.12.2026 24:00": None,
    "01.12.2026 12": None,
    "0001-01-01": None,  # the year before, in UTC
    "01.01.0001": None,
    "\uff10\uff11.12.2026": None,
    "2026-12-\u0660\u0661": None,
}


def test_the_names_of_the_api_need_no_setting() -> None:
    raw = f"{OWN}t1;qr_topup_a;50000;2026-12-01 12:00:00;approved;; \n\n".encode()
    [item] = read_report(raw, ReportColumns())
    assert (item.transaction_ref, item.order_id, item.status) == ("t1", "qr_topup_a", "approved")
    assert (item.amount_minor, item.currency, item.at) == (50_000, "KGS", BISHKEK_NOON)


def test_a_report_in_another_language_is_read_by_the_setting() -> None:
    columns = parse_columns(
        "trans_id=Транзакция; order=Заказ; amount=Сумма; date=Дата; status=Статус; unit=som;"
        " refunded=Возврат; approved=Успешно|Оплачен; partial_refund=Частичный возврат;"
        " refunded_words=Возвращён"
    )
    head = "№,Транзакция,Заказ,Сумма,Дата,Статус,Возврат\n"
    lines = (
        '1,t1,a,"1 234,50",01.12.2026 12:00:00,Оплачен,\n'
        '2,t2,b,"10",2026-12-01T12:00:00+06:00,частичный возврат,"2,5"\n'
        "3,t3,c,10,2026-12-01,возвращён,\n"
    )
    for encoding in ("utf-8-sig", "cp1251"):
        first, second, third = read_report((head + lines).encode(encoding), columns)
        assert (first.amount_minor, first.status, first.at) == (123_450, "approved", BISHKEK_NOON)
        assert (second.status, second.refunded_minor, second.at) == (
            "partial_refund", 250, BISHKEK_NOON,
        )  # fmt: skip
        assert (third.status, third.refunded_minor) == ("refunded", 1_000)


@pytest.mark.parametrize(
    ("unit", "text", "minor"),
    [
        *(("som", text, minor) for text, minor in IN_SOM.items()),
        *(("tyiyn", text, minor) for text, minor in IN_TYIYN.items()),
    ],
)
def test_an_amount_is_never_guessed(
    unit: Literal["som", "tyiyn"], text: str, minor: int | None
) -> None:
    raw = f"{OWN}t;o;{text};2026-12-01;approved".encode(errors="surrogatepass")
    if minor is None:
        with pytest.raises(ReportError, match="line 2: "):
            read_report(raw, ReportColumns(unit=unit))
    else:
        [item] = read_report(raw, ReportColumns(unit=unit))
        assert item.amount_minor == minor


@pytest.mark.parametrize(("text", "at"), REPORT_TIMES.items())
def test_a_time_is_never_guessed(text: str, at: datetime | None) -> None:
    raw = f"{OWN}t;o;1;{text};approved".encode(errors="surrogatepass")
    if at is None:
        with pytest.raises(ReportError, match="line 2: "):
            read_report(raw, ReportColumns())
    else:
        [item] = read_report(raw, ReportColumns())
        assert item.at == at


def test_a_refund_is_read_as_the_amount_is() -> None:
    raw = b"trans_id;order_id;amount;date_pay;status;back\nt;o;5;2026-12-01;partial_refund;1,000"
    with pytest.raises(ReportError, match="1,000"):
        read_report(raw, parse_columns("unit=som;refunded=back"))


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (
            "ID;Заказ;amount;date_pay;status\n1;2;3;;approved",
            ["no column for trans_id (trans_id), order (order_id)", "It has: ID, Заказ, amount",
             "EVPOWER_PAYMENT_REPORT_COLUMNS"],
        ),
        ("", ["It has: no columns"]),
        (f"{OWN}t;o;12.5;2026-12-01;approved", ["line 2", "unit=som"]),
        (f"{OWN}t;o;-1;2026-12-01;approved", ["no amount"]),
        (f"{OWN}t;o;NaN;2026-12-01;approved", ["no amount"]),
        (f"{OWN}t;o;1e30;2026-12-01;approved", ["no amount"]),
        (f"{OWN}t;o;1,000;2026-12-01;approved", ["no amount", "1 234"]),
        (f"{OWN}t;o;999999999999;2026-12-01;approved", ["too large"]),
        (f"{OWN}t;o;ten;2026-12-01;approved", ["no amount"]),
        (f"{OWN}t;o;1;2026-12-01;Оплачено", ["line 2", "has no meaning yet", "approved="]),
        (f"{OWN}t;o;1;tomorrow;approved", ["no date and time"]),
        (f"{OWN}t;o;1\n", ["line 2"]),
        (
            "trans_id,order_id,date_pay,status,amount\nt,o,2026-12-01,approved,1,000",
            ["line 2", "more cells"],
        ),
        (f"{OWN}{'t' * 129};o;1;2026-12-01;approved", ["trans_id is longer"]),
        (f"{OWN}t\x07;o;1;2026-12-01;approved", ["trans_id"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(raw: str, words: list[str]) -> None:
    with pytest.raises(ReportError) as refused:
        read_report(raw.encode(), ReportColumns())
    for word in words:
        assert word in str(refused.value)


def test_a_report_has_a_limit() -> None:
    with pytest.raises(ReportError, match="larger"):
        read_report(b"x" * (MAX_BYTES + 1), ReportColumns())


@pytest.mark.parametrize("text", ["trans_id", "who=x", "unit=dollar", "=x"])
def test_a_setting_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        parse_columns(text)
