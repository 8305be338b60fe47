"""Messages as stations write them: read as far as their meaning is plain."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evpower.ocpp import messages
from evpower.ocpp.frame_log import shown
from evpower.ocpp.messages import Call, StationReply, Unreadable, read
from tests.growth import assert_linear

HEARTBEAT = b'[2,"1","Heartbeat",{}]'


def test_a_request_by_the_book_has_no_deviation() -> None:
    assert read(HEARTBEAT) == Call("1", "Heartbeat", {}, set())


@pytest.mark.parametrize(
    ("raw", "payload"),
    [
        pytest.param(
            b'[2,"7","MeterValues",{"connectorId":1,"transactionId":,"meterValue":[]}]',
            {"connectorId": 1, "transactionId": None, "meterValue": []},
            id="Q44-empty-member",
        ),
        pytest.param(
            b'[2,"7","StopTransaction",{"idTag":"336699\\","meterStop":5}]',
            {"idTag": "336699\\", "meterStop": 5},
            id="Q44-back-slash-before-the-quote",
        ),
        pytest.param(
            b'[2,"7","StopTransaction",{"idTag":"A\\xB","meterStop":5}]',
            {"idTag": "A\\xB", "meterStop": 5},
            id="Q44-unescaped-back-slash",
        ),
        pytest.param(
            b'[2,"7","StopTransaction",{"list":[{"a":1}',
            {"list": [{"a": 1}]},
            id="Q44-unclosed",
        ),
        pytest.param(
            b'[2,"7","StopTransaction",{"reason":"Lo', {"reason": "Lo"}, id="Q44-cut-in-a-text"
        ),
        pytest.param(
            b'[2,"7","StopTransaction",{"meterStop":5,}]', {"meterStop": 5}, id="trailing-comma"
        ),
        pytest.param(b'[2,"7","StopTransaction",{"meterStop":NaN}]', {"meterStop": None}, id="nan"),
        pytest.param(
            b'[2,"7","StopTransaction",{"idTag":"a\x01b"}]', {"idTag": "a b"}, id="control-char"
        ),
        pytest.param(HEARTBEAT + b"\x00\x00", {}, id="bytes-behind-the-end"),
        pytest.param(
            '[2,"7","X",{"info":"充电"}]'.encode("gb18030"), {"info": "充电"}, id="chinese-bytes"
        ),
        pytest.param(
            b'[2,"7","X",{"a":"x:,}","b":}]', {"a": "x:,}", "b": None}, id="texts-stay-as-they-are"
        ),
    ],
)
def test_broken_json_is_repaired(raw: bytes, payload: dict[str, object]) -> None:
    call = read(raw)
    assert isinstance(call, Call), call
    assert call.payload == payload
    assert call.notes & {"json_repaired", "not_utf8"}


@pytest.mark.parametrize(
    ("raw", "message_id"),
    [
        pytest.param(b'[2,17,"Heartbeat",{}]', 17, id="a-number-is-repeated"),
        pytest.param(b'[2,"","Heartbeat",{}]', "", id="empty"),
        pytest.param(b'[2,"' + b"x" * 40 + b'","Heartbeat",{}]', "x" * 40, id="too-long"),
        pytest.param(b'[2,null,"Heartbeat",{}]', "-1", id="null"),
        pytest.param(b"[2," + b"9" * 400 + b',"Heartbeat",{}]', "-1", id="huge"),
        pytest.param(b'[2,{"a":1},"Heartbeat",{}]', "-1", id="object"),
        pytest.param(b'["2","5","Heartbeat",{}]', "5", id="type-as-text"),
        pytest.param(b'[2,"5","Heartbeat"]', "5", id="no-payload"),
        pytest.param(b'[2,"5","Heartbeat",null]', "5", id="null-payload"),
        pytest.param(b'[2,"5","Heartbeat",{},1]', "5", id="one-element-more"),
        pytest.param(b'[2,"5","Heartbeat","{}"]', "5", id="payload-as-text"),
        pytest.param(b'[2,"5","Heartbeat",[{}]]', "5", id="payload-in-a-list"),
    ],
)
def test_odd_requests_are_read(raw: bytes, message_id: object) -> None:
    call = read(raw)
    assert isinstance(call, Call), call
    assert (call.id, call.action, call.payload) == (message_id, "Heartbeat", {})
    assert call.notes


@pytest.mark.parametrize(
    ("raw", "message_id"),
    [
        (b"", None),
        (b"hello", None),
        (b"{}", None),
        (b"[]", None),
        (b"[9]", None),
        (b'[2,"5"]', "5"),
        (b'[2,"5",7,{}]', "5"),
        (b'[2,"5","Boot" {]', "5"),
        (b"[" * 100_000, None),
    ],
)
def test_what_cant_be_read_names_its_request_if_it_can(raw: bytes, message_id: str | None) -> None:
    message = read(raw)
    assert isinstance(message, Unreadable), message
    assert message.id == message_id


def test_only_a_message_of_usual_size_is_repaired() -> None:
    head, item = b'[2,"a","MeterValues",{"connectorId":1,"meterValue":[', b'{"value":"1"},'
    small, large = head + item * 1_000, head + item * 10_000
    assert isinstance(messages.read(small), messages.Call)
    refused = messages.read(large)
    assert isinstance(refused, messages.Unreadable)
    assert (refused.id, refused.reason) == ("a", "is not JSON, and too long to be repaired")


# What each search of a text may run to the end for, from every place anew.
UNITS = (
    b'\\"', b'"\\', b'"', b":   ", b",   ", b'{"a":', b"[", b'\\"   ', b'\\"   x', b"\\",
    b"\\u00", b"-", b"-NaN", b"NaN", b'"value"', b'"value" : ', b'"value":"', b'"key":"',
    b" ", b'["2",', b"\xff",
)  # fmt: skip


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("head", [b"[", b'[3,"1",{"key":"'])
def test_no_text_takes_longer_than_its_length_explains(head: bytes, unit: bytes) -> None:
    def text(size: int) -> bytes:
        return head + unit * (size // len(unit))

    assert_linear(read, text, 3_000)
    assert_linear(shown, text, 4_000)
    assert_linear(messages.is_reply, text, 4_000)


def test_a_text_without_an_end_is_not_searched_for_words() -> None:
    call = read(b'[2,"7","StopTransaction",{"reason":"a:,NaN,}')
    assert isinstance(call, Call), call
    assert call.payload == {"reason": "a:,NaN,}"}


def test_replies_are_read_apart_from_requests() -> None:
    assert messages.is_reply(b' [ 3,"a",{}]')
    assert messages.is_reply(b'[4,"a","X","",{}]')
    assert not messages.is_reply(HEARTBEAT)
    assert read(b'[3,"a",{"status":"Accepted"}]') == StationReply(
        "a", {"status": "Accepted"}, None, set()
    )
    refused = read(b'[4,"a","InternalError"]')
    assert isinstance(refused, StationReply)
    assert refused.error == {"error": "InternalError", "description": None, "details": None}


def test_a_truncated_reply_is_repaired() -> None:
    """Q44, Q63: Grizzl-E answers without the closing brackets."""
    answer = read(b'[3,"a",{"configurationKey":[]')
    assert isinstance(answer, StationReply)
    assert answer.payload == {"configurationKey": []}


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_break_the_reader(raw: bytes) -> None:
    message = read(raw)
    assert isinstance(message, Call | StationReply | Unreadable)
    text = shown(raw)
    assert "\x00" not in text
    text.encode()


def test_secrets_are_blanked_in_the_log() -> None:
    request = orjson.dumps(
        [2, "1", "ChangeConfiguration", {"key": "AuthorizationKey", "value": "4142434445"}]
    )
    reply = (
        b'[3,"1",{"configurationKey":[{"key":"AuthorizationKey","readonly":false,"value":"s3"}]}]'
    )
    assert "4142434445" not in shown(request)
    assert '"value":"***"' in shown(request)
    assert "s3" not in shown(reply)
    assert shown(HEARTBEAT) == HEARTBEAT.decode()
    broken = b'[3,"1",{"configurationKey":[{"key":"AuthorizationKey","value":"s3cret'
    assert "s3cret" not in shown(broken)


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_frames_are_as_the_library_writes_them(size: int) -> None:
    from websockets.frames import Frame, Opcode

    text = b"x" * size
    assert messages.text_frame(text) == Frame(Opcode.TEXT, text).serialize(mask=False)
