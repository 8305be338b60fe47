"""The bytes of a message, against the example of the specification, and the keys."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import SecretStr

from evpower.push.keys import (
    from_base64url,
    make_private_key,
    push_problems,
    push_settings,
    read_auth,
    read_point,
    read_private_key,
    to_base64url,
)
from evpower.push.web_push import encrypted
from tests.push.scenario import PRIVATE_KEY, Browser, settings_for

# RFC 8291, section 5 and appendix A.
TEXT = b"When I grow up, I want to be a watermelon"
SENDER = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"
RECEIVER = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
AUTH = "BTBZMqHH6r4Tts7J_aSIgg"
SALT = "DGv6ra1nlYgDCS1FRnbzlw"
BODY = (
    "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6"
    "TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulc"
    "y4a-fN"
)


def plain(text: str) -> bytes:
    raw = from_base64url(text)
    assert raw is not None
    return raw


def test_a_message_is_encrypted_as_the_specification_shows() -> None:
    sender = ec.derive_private_key(int.from_bytes(plain(SENDER)), ec.SECP256R1())
    body = encrypted(TEXT, plain(RECEIVER), plain(AUTH), salt=plain(SALT), sender=sender)
    assert to_base64url(body) == BODY


def test_each_message_has_a_key_and_a_salt_of_its_own() -> None:
    browser = Browser("http://127.0.0.1/x")
    first, second = (encrypted(b"{}", browser.point, browser.auth) for _ in range(2))
    assert first[:16] != second[:16]
    assert first[21:86] != second[21:86]
    assert browser.read(first) == browser.read(second) == {}


def test_a_made_key_is_one_that_is_read() -> None:
    text = make_private_key()
    assert len(plain(text)) == 32
    assert read_point(read_private_key(text).public) is not None
    assert make_private_key() != text


@pytest.mark.parametrize(
    "text",
    ["", "x", "AAAA", to_base64url(bytes(32)), to_base64url(b"\xff" * 32),
     to_base64url(bytes(33)), "ключ"],
)  # fmt: skip
def test_a_key_that_is_none_is_refused_unquoted(text: str) -> None:
    with pytest.raises(ValueError, match="evpower push keys") as refused:
        read_private_key(text)
    assert not text or text not in str(refused.value)


@pytest.mark.parametrize("text", ["", "AAAA", to_base64url(b"\x04" + bytes(64)), "\u0430", "*" * 88,
                                  to_base64url(b"\x02" + bytes(32))])  # fmt: skip
def test_keys_of_a_subscription_that_are_none_are_seen(text: str) -> None:
    assert read_point(text) is None
    assert read_auth(text) is None


def test_padded_and_standard_base64_are_read_too() -> None:
    assert read_auth("BTBZMqHH6r4Tts7J/aSIgg==") == plain(AUTH)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"push_vapid_private_key": SecretStr("x")}, "EVPOWER_PUSH_VAPID_PRIVATE_KEY"),
        ({"push_contact": ""}, "EVPOWER_PUSH_CONTACT"),
        ({"push_contact": "support@example.kg"}, "EVPOWER_PUSH_CONTACT"),
        ({"push_contact": "mailto:"}, "EVPOWER_PUSH_CONTACT"),
        ({"push_hosts": "*"}, "EVPOWER_PUSH_HOSTS"),
        ({"push_hosts": "http://127.0.0.1:80", "env": "production"}, "EVPOWER_PUSH_HOSTS"),
    ],
)
def test_unusable_settings_are_named(values: dict[str, object], named: str) -> None:
    settings = settings_for(**values)
    [problem] = push_problems(settings)
    assert problem.startswith(named)
    assert PRIVATE_KEY not in problem
    with pytest.raises(ValueError, match=named):
        push_settings(settings)


def test_without_a_key_nothing_is_sent_and_nothing_is_wrong() -> None:
    settings = settings_for(push_vapid_private_key=SecretStr(""), push_contact="")
    assert push_problems(settings) == []
    assert push_settings(settings) is None
