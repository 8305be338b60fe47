"""Whatever is sent on a socket, it is closed as documented and reveals no balance."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed

from tests.realtime.scenario import Live, token

_ENDS = {4400, 4401, 4403, 4429, 1007, 1009}
_LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
_JSON = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
_ALMOST = st.fixed_dictionaries(
    {"type": st.sampled_from(["auth", "ping", "AUTH", "connection"]) | _LEAVES},
    optional={"token": _JSON, "version": _JSON, "client_id": _JSON},
)
_FIRST = st.one_of(
    st.text(max_size=60), st.binary(max_size=60), _JSON.map(json.dumps), _ALMOST.map(json.dumps)
)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(first=_FIRST)
async def test_first_messages_of_any_kind(live: Live, first: str | bytes) -> None:
    await _say_and_end(live, first)


async def test_tokens_almost_right(live: Live) -> None:
    rich = await live.new_client()
    await live.top_up(rich, 777)
    good = token(rich)
    other = "A" if good[-20] != "A" else "B"
    for wrong in (good[:-4], good[:-20] + other + good[-19:], good.upper(), good * 2, good + "."):
        await _say_and_end(live, json.dumps({"type": "auth", "token": wrong}))
    async with live.watching(rich) as app:  # and it still serves
        assert (await app.expect("balance_update"))["balance"] == 777.0


async def _say_and_end(live: Live, first: str | bytes) -> None:
    async with live.open() as app:
        await app.say(first)
        with pytest.raises(ConnectionClosed):
            pytest.fail(f"{first!r} was answered with {await app.next()}")
        assert app.wire.close_code in _ENDS, first
