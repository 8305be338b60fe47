"""Signatures of webhooks: which are accepted, which refused."""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from evpower.foundation.errors import Invalid, Unauthenticated
from evpower.foundation.http import HttpClient
from evpower.foundation.money import MAX_MINOR
from evpower.foundation.standard_webhooks import key_bytes, sign, verify
from evpower.payments.providers.protocol import NoticeRequest
from evpower.payments.providers.sandbox import SandboxProvider

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
NOW_S = int(NOW.timestamp())
KEY = b"a key both sides know"
BODY = b'{"status":"approved"}'


def signed(
    key: bytes = KEY, message_id: str = "evt_1", timestamp: int = NOW_S, raw: bytes = BODY
) -> dict[str, str]:
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(key, message_id, timestamp, raw),
    }


def refusal(headers: Mapping[str, str], raw: bytes = BODY, keys: tuple[bytes, ...] = (KEY,)) -> str:
    with pytest.raises(Unauthenticated) as refused:
        verify(keys, headers, raw, NOW)
    return refused.value.code


def test_signature_is_the_hmac_of_id_timestamp_and_body() -> None:
    mac = hmac.new(KEY, b"evt_1.%d." % NOW_S + BODY, hashlib.sha256).digest()
    assert sign(KEY, "evt_1", NOW_S, BODY) == "v1," + base64.b64encode(mac).decode()


def test_published_vector_of_standard_webhooks_is_accepted() -> None:
    key = key_bytes("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    raw = b'{"test": 2432232314}'
    at = datetime.fromtimestamp(1614265330, UTC)
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    assert verify([key], headers, raw, at) == "msg_p5jXN8AQM9LWM0D4loKWxJek"


def test_a_good_signature_returns_the_event_id() -> None:
    assert verify([KEY], signed(), BODY, NOW) == "evt_1"


def test_both_secrets_are_accepted_while_they_rotate() -> None:
    old, new = b"the old key", b"the new key"
    assert verify([new, old], signed(old), BODY, NOW) == "evt_1"
    assert verify([new, old], signed(new), BODY, NOW) == "evt_1"
    assert refusal(signed(old), keys=(new,)) == "invalid_signature"


@pytest.mark.parametrize("between", [" ", ", ", " , ", "  "])
def test_one_good_signature_among_several_is_enough(between: str) -> None:
    headers = signed()
    headers["webhook-signature"] = f"v1,AAAA{between}{headers['webhook-signature']}"
    assert verify([KEY], headers, BODY, NOW) == "evt_1"


def lines(*changes: tuple[str, str]) -> Headers:
    """Return the signed headers, some of them replaced, as lines that may repeat a name."""
    rest = [item for item in signed().items() if item[0] not in dict(changes)]
    return Headers(raw=[(name.encode(), value.encode()) for name, value in [*rest, *changes]])


GOOD_LINE = ("webhook-signature", signed()["webhook-signature"])
BAD_LINE = ("webhook-signature", "v1,AAAA")


@pytest.mark.parametrize(
    "given", [(GOOD_LINE, BAD_LINE), (BAD_LINE, GOOD_LINE), (BAD_LINE, GOOD_LINE, BAD_LINE)]
)
def test_one_good_signature_in_several_lines_is_enough(given: tuple[tuple[str, str], ...]) -> None:
    assert verify([KEY], lines(*given), BODY, NOW) == "evt_1"


def test_several_lines_without_a_good_one_are_refused() -> None:
    assert refusal(lines(BAD_LINE, BAD_LINE)) == "invalid_signature"


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp"])
@pytest.mark.parametrize("at", [0, 1])
def test_which_id_or_time_was_signed_must_be_clear(name: str, at: int) -> None:
    values = ["another" if name == "webhook-id" else str(NOW_S + 1)]
    values.insert(at, signed()[name])
    assert refusal(lines(*((name, value) for value in values))) == "invalid_signature"


def test_very_many_signatures_are_not_all_tried() -> None:
    assert refusal(lines(*[BAD_LINE] * 5_000, GOOD_LINE)) == "invalid_signature"


def test_tampered_body_is_refused() -> None:
    assert refusal(signed(), BODY + b" ") == "invalid_signature"


def test_tampered_id_and_timestamp_are_refused() -> None:
    assert refusal(signed() | {"webhook-id": "evt_2"}) == "invalid_signature"
    assert refusal(signed() | {"webhook-timestamp": str(NOW_S + 1)}) == "invalid_signature"


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_missing_header_is_refused(name: str) -> None:
    headers = signed()
    del headers[name]
    assert refusal(headers) == "invalid_signature"


@pytest.mark.parametrize("age_s", [301, -301, 10**8])
def test_authentic_but_old_or_future_is_stale(age_s: int) -> None:
    assert refusal(signed(timestamp=NOW_S - age_s)) == "stale_webhook"


@pytest.mark.parametrize("age_s", [300, 0, -300])
def test_five_minutes_both_ways_are_accepted(age_s: int) -> None:
    assert verify([KEY], signed(timestamp=NOW_S - age_s), BODY, NOW) == "evt_1"


def test_forged_and_stale_is_refused_as_forged() -> None:
    assert refusal(signed(b"another key", timestamp=0)) == "invalid_signature"


@pytest.mark.parametrize("timestamp", ["", "-1", "1e9", "١٢٣", "9" * 400, "12.5", " 1"])
def test_nonsense_timestamp_is_refused(timestamp: str) -> None:
    assert refusal(signed() | {"webhook-timestamp": timestamp}) == "invalid_signature"


@given(st.text(), st.text(), st.text(), st.binary())
def test_random_headers_never_pass_and_never_crash(
    message_id: str, timestamp: str, signature: str, raw: bytes
) -> None:
    headers = {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": signature,
    }
    assert refusal(headers, raw) == "invalid_signature"


def provider() -> SandboxProvider:
    return SandboxProvider("http://127.0.0.1:1", [KEY.decode()], HttpClient())


def notice(headers: Mapping[str, str], raw: bytes) -> NoticeRequest:
    path = "/api/v1/payment/webhook/sandbox"
    return NoticeRequest("POST", path, "evpower.test", "", headers, raw, "192.0.2.1")


GOOD = {"ref": "r", "order_id": "order-1", "status": "approved", "paid": 5, "currency": "KGS"}


def test_authentic_webhook_becomes_an_event() -> None:
    raw = orjson.dumps(GOOD)
    event = provider().read_notice(notice(signed(raw=raw), raw), NOW)
    assert (event.event_id, event.order_id, event.status) == ("evt_1", "order-1", "approved")
    assert (event.paid_minor, event.currency, event.refunded_minor) == (5, "KGS", None)
    assert event.body_sha256 == hashlib.sha256(raw).digest()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b"[" * 5000,
        orjson.dumps(GOOD | {"paid": 1.5}),
        orjson.dumps(GOOD | {"paid": True}),
        orjson.dumps(GOOD | {"paid": -1}),
        orjson.dumps(GOOD | {"paid": "5"}),
        orjson.dumps(GOOD | {"paid": 10**18}),
        orjson.dumps(GOOD | {"order_id": "a\0b"}),
        orjson.dumps(GOOD | {"order_id": "x" * 200}),
        orjson.dumps(GOOD | {"order_id": None}),
        orjson.dumps(GOOD | {"status": "paid"}),
        orjson.dumps(GOOD | {"status": ["approved"]}),
        orjson.dumps(GOOD | {"currency": ""}),
    ],
)
def test_authentic_nonsense_is_invalid(raw: bytes) -> None:
    with pytest.raises(Invalid) as refused:
        provider().read_notice(notice(signed(raw=raw), raw), NOW)
    assert refused.value.code == "invalid_webhook"


@given(st.integers(0, MAX_MINOR))
def test_money_goes_to_the_provider_and_back_unchanged(amount_minor: int) -> None:
    codec = provider()
    assert codec.from_unit(codec.to_unit(amount_minor)) == amount_minor
    over_the_wire = orjson.loads(orjson.dumps(codec.to_unit(amount_minor)))
    assert codec.from_unit(over_the_wire) == amount_minor


def test_provider_without_a_secret_does_not_start() -> None:
    with pytest.raises(ValueError, match="secret"):
        SandboxProvider("http://127.0.0.1:1", [], HttpClient())
