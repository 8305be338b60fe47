"""A provider's report as a file: whatever its columns are called, and whatever is wrong with it."""

from datetime import UTC, datetime

import pytest

from evpower.payments.providers.report import (
    MAX_BYTES,
    ReportColumns,
    ReportError,
    parse_columns,
    read_report,
)

OWN = "trans_id;order_id;amount;date_pay;status\n"
BISHKEK_NOON = datetime(2026, 12, 1, 6, tzinfo=UTC)


def test_the_names_of_the_api_need_no_setting() -> None:
    raw = f"{OWN}t1;qr_topup_a;50000;2026-12-01 12:00:00;approved\n\n".encode()
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
    ("raw", "words"),
    [
        (
            "ID;Заказ;amount;date_pay;status\n1;2;3;;approved",
            ["no column for trans_id (trans_id), order (order_id)", "It has: ID, Заказ, amount",
             "EVPOWER_PAYMENT_REPORT_COLUMNS"],
        ),
        ("", ["It has: no columns"]),
        (f"{OWN}t;o;12.5;2026-12-01;approved", ["line 2", "unit=som"]),
        (f"{OWN}t;o;-1;2026-12-01;approved", ["no amount that can be"]),
        (f"{OWN}t;o;NaN;2026-12-01;approved", ["no amount"]),
        (f"{OWN}t;o;1e30;2026-12-01;approved", ["no amount that can be"]),
        (f"{OWN}t;o;ten;2026-12-01;approved", ["no amount"]),
        (f"{OWN}t;o;1;2026-12-01;Оплачено", ["line 2", "has no meaning yet", "approved="]),
        (f"{OWN}t;o;1;tomorrow;approved", ["no date and time"]),
        (f"{OWN}t;o;1\n", ["line 2"]),
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
