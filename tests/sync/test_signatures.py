"""Both forms of a signature, over the raw bytes, with any of several secrets."""

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from evpower.foundation.standard_webhooks import key_bytes, sign
from evpower.sync.webhook.signatures import (
    SignatureRefused,
    is_authentic,
    parse_secret,
    parse_secrets,
    read_claim,
)

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
NOW_S = int(NOW.timestamp())
OLD = "whsec_" + base64.b64encode(b"the secret before this one 32 b.").decode()
NEW = "whsec_" + base64.b64encode(b"the secret of today, 32 bytes ..").decode()
KEYS = parse_secrets(f"{NEW}|{OLD}")
BODY = b'{"type":"UPDATE", "table":"clients" ,"record":{"id":"1","name":"\\u0410"}}'
WRONG = "v1," + base64.b64encode(b"w" * 32).decode()


def value(
    secret: str = NEW, message_id: str = "msg_1", timestamp: int = NOW_S, raw: bytes = BODY
) -> str:
    return sign(key_bytes(secret), message_id, timestamp, raw)


def plain(secret: str = NEW, raw: bytes = BODY) -> str:
    return hmac.new(key_bytes(secret), raw, hashlib.sha256).hexdigest()


def signed(**headers: str) -> dict[str, str]:
    """A true message of the standard form, with some headers replaced."""
    true = {"webhook_id": "msg_1", "webhook_timestamp": str(NOW_S), "webhook_signature": value()}
    return {name.replace("_", "-"): text for name, text in (true | headers).items() if text}


def verdict(headers: dict[str, str], raw: bytes = BODY, now: datetime = NOW) -> str:
    """Answer ok, or why it was refused."""
    try:
        claim = read_claim(Headers(headers), now)
    except SignatureRefused as refused:
        return refused.reason
    return "ok" if is_authentic(claim, KEYS, raw) else "forged"


def own(text: str) -> dict[str, str]:
    return {"X-Supabase-Signature": text}


PASS = {
    "today's secret": signed(),
    "the secret before": signed(webhook_signature=value(OLD)),
    "both, as the specification joins them": signed(webhook_signature=f"{WRONG} {value()}"),
    "both, as Supabase Auth joins them": signed(webhook_signature=f"{value(OLD)}, {WRONG}"),
    "both, the other way round": signed(webhook_signature=f"{WRONG}, {value(OLD)}"),
    "an unknown version beside": signed(webhook_signature=f"v1a,{'A' * 88} v2,x {value()}"),
    "ten signatures": signed(webhook_signature=" ".join([WRONG] * 9 + [value()])),
    "in X-Supabase-Signature": signed(webhook_signature="") | own(value()),
    "the same in both headers": signed() | own(value()),
    "wrong in one header, true in the other": signed(webhook_signature=WRONG) | own(value()),
    "hex of the body": own(plain()),
    "hex with the secret before": own(plain(OLD)),
    "hex with a prefix": own(f"sha256={plain()}"),
    "hex in capitals": own(plain().upper()),
    "two hex values": own(f"{'0' * 64}, {plain()}"),
}


@pytest.mark.parametrize("case", PASS)
def test_true_signatures_pass(case: str) -> None:
    assert verdict(PASS[case]) == "ok"


UNKNOWN = "whsec_" + base64.b64encode(b"x" * 32).decode()
REFUSED = {
    "nothing": ({}, "unsigned"),
    "a signature without id and time": (
        signed(webhook_id="", webhook_timestamp=""),
        "unsigned",
    ),
    "no id": (signed(webhook_id=""), "malformed"),
    "no time": (signed(webhook_timestamp=""), "malformed"),
    "no signature": (signed(webhook_signature=""), "malformed"),
    "another secret": (signed(webhook_signature=value(UNKNOWN)), "forged"),
    "an id that was not signed": (signed(webhook_id="msg_2"), "forged"),
    "a time that was not signed": (signed(webhook_timestamp=str(NOW_S + 1)), "forged"),
    "a time written otherwise": (signed(webhook_timestamp=f"0{NOW_S}"), "malformed"),
    "a cut signature": (signed(webhook_signature=value()[:-2]), "forged"),
    "the eleventh signature": (
        signed(webhook_signature=" ".join([WRONG] * 10 + [value()])),
        "forged",
    ),
    "only unknown versions": (signed(webhook_signature=value().replace("v1,", "v2,")), "malformed"),
    "base64 without a version": (signed(webhook_signature=value()[3:]), "malformed"),
    "hex where a time is claimed": (signed(webhook_signature="") | own(plain()), "malformed"),
    "the other form's value": (own(value()), "malformed"),
    "hex of another secret": (own(plain(UNKNOWN)), "forged"),
    "hex of another body": (own(plain(raw=BODY + b" ")), "forged"),
    "hex cut": (own(plain()[:-1]), "malformed"),
    "hex with something behind": (own(plain() + "00"), "malformed"),
    "hex that is none": (own("z" * 64), "malformed"),
    "an id with a dot": (
        signed(webhook_id="msg.1", webhook_signature=value(message_id="msg.1")),
        "malformed",
    ),
    "an id that begins an object": (
        signed(webhook_id='{"a', webhook_signature=value(message_id='{"a')),
        "malformed",
    ),
    "an endless id": (
        signed(webhook_id="m" * 151, webhook_signature=value(message_id="m" * 151)),
        "malformed",
    ),
    "an endless time": (signed(webhook_timestamp="1" * 400), "malformed"),
    "a negative time": (signed(webhook_timestamp="-1"), "malformed"),
    "a time in Arabic digits": (signed(webhook_timestamp="١٢٣"), "malformed"),
    "a signature in Cyrillic": (signed(webhook_signature="v1,подпись"), "forged"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_anything_else_is_refused(case: str) -> None:
    headers, reason = REFUSED[case]
    encoded = {name: text.encode().decode("latin-1") for name, text in headers.items()}
    assert verdict(encoded) == reason


@pytest.mark.parametrize(
    ("age_s", "expected"),
    [(0, "ok"), (299, "ok"), (300, "ok"), (301, "stale"), (-300, "ok"), (-301, "stale"),
     (10**8, "stale")],
)  # fmt: skip
def test_the_window_is_five_minutes_both_ways(age_s: int, expected: str) -> None:
    assert verdict(signed(), now=NOW + timedelta(seconds=age_s)) == expected


def test_a_body_written_otherwise_is_another_body() -> None:
    again = BODY.replace(b" ", b"")
    assert verdict(signed(), again) == "forged"
    assert verdict(own(plain()), again) == "forged"


def test_text_signed_in_one_form_is_no_object_of_the_other() -> None:
    """The HMAC of id.timestamp.body is one of a "plain" body too: that body is never an object."""
    headers = own(base64.b64decode(value()[3:]).hex())
    replayed = b"msg_1.%d." % NOW_S + BODY
    assert verdict(headers, replayed) == "ok"
    assert not replayed.lstrip().startswith(b"{")


def test_several_headers_of_one_name_count_as_one() -> None:
    raw = [(name.encode(), text.encode()) for name, text in signed().items()]
    raw.insert(0, (b"webhook-signature", WRONG.encode()))
    assert is_authentic(read_claim(Headers(raw=raw), NOW), KEYS, BODY)


@pytest.mark.parametrize(
    "text",
    [f"{NEW}|{OLD}", f"v1,{NEW}|v1,{OLD}", f"{NEW},{OLD}", f" {NEW}\n{OLD} ", f"v1,{NEW}, v1,{OLD}",
     f"{NEW}||{OLD}|{NEW}"],
)  # fmt: skip
def test_secrets_are_read_in_every_way_they_are_written(text: str) -> None:
    assert parse_secrets(text) == KEYS


def test_plain_text_is_a_secret_too() -> None:
    assert parse_secrets("a secret") == (b"a", b"secret")
    assert parse_secrets("long-plain-text_secret=") == (b"long-plain-text_secret=",)
    assert parse_secrets("  ") == ()


def test_one_secret_is_not_split() -> None:
    assert parse_secret("a text, with | everything in it") == b"a text, with | everything in it"
    assert parse_secret(f" v1,{NEW}\n") == key_bytes(NEW)


@pytest.mark.parametrize("text", ["whsec_%%%", "whsec_", "v1a,whpk_abc", "whsk_abc"])
def test_what_is_no_secret_is_not_started_with(text: str) -> None:
    with pytest.raises(ValueError, match=r"whsec_|asymmetric|empty"):
        parse_secrets(text)
    with pytest.raises(ValueError, match=r"whsec_|asymmetric|empty"):
        parse_secret(text)


@given(
    st.text(max_size=200), st.text(max_size=40), st.text(max_size=300), st.text(max_size=200),
    st.binary(max_size=50),
)  # fmt: skip
def test_random_headers_never_pass_and_never_crash(
    message_id: str, timestamp: str, signature: str, supabase: str, raw: bytes
) -> None:
    headers = {
        "webhook-id": message_id, "webhook-timestamp": timestamp,
        "webhook-signature": signature, "x-supabase-signature": supabase,
    }  # fmt: skip
    as_sent = [(k.encode(), v.encode("utf-8", "replace")) for k, v in headers.items()]
    try:
        claim = read_claim(Headers(raw=as_sent), NOW)
    except SignatureRefused:
        return
    assert not is_authentic(claim, KEYS, raw)


@given(st.binary(max_size=300), st.from_regex(r"[A-Za-z0-9_-]{1,150}", fullmatch=True))
def test_any_bytes_truly_signed_pass_and_one_changed_bit_does_not(
    raw: bytes, message_id: str
) -> None:
    headers = signed(webhook_id=message_id, webhook_signature=value(message_id=message_id, raw=raw))
    assert verdict(headers, raw) == "ok"
    assert verdict(own(plain(raw=raw)), raw) == "ok"
    other = bytes([raw[0] ^ 1]) + raw[1:] if raw else b"\0"
    assert verdict(headers, other) == "forged"
    assert verdict(own(plain(raw=raw)), other) == "forged"
