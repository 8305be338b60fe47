"""How a station's password is made, presented and replaced."""

import asyncio

import pytest

from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict
from evpower.stations import as_hex
from tests.stations.scenario import Operator


async def secret(operator: Operator) -> str:
    password = (await operator.add()).password
    assert password is not None
    return password


async def test_a_password_is_long_and_can_be_typed(operator: Operator) -> None:
    password = await secret(operator)
    assert len(password) == 20
    assert password.isascii()
    assert password.isalnum()
    assert len(as_hex(password)) == 40


async def test_it_is_taken_as_text_and_as_hex_of_either_case(operator: Operator) -> None:
    password = await secret(operator)
    for presented in (password, as_hex(password), as_hex(password).lower()):
        assert await operator.admit("EVP-001", presented) == "authenticated"


@pytest.mark.parametrize("presented", [b"", None])
async def test_without_a_password_it_is_refused_as_such(
    operator: Operator, presented: bytes | None
) -> None:
    await secret(operator)
    assert await operator.admit("EVP-001", presented) == "no_password"


async def test_any_other_password_is_refused(operator: Operator) -> None:
    password = await secret(operator)
    others = [
        password[:-1], password + "x", password.upper(), as_hex(password)[:-2], "0" * 40, b"\xff",
        as_hex(as_hex(password)), b"\x00" * 20, password.encode() + b"\x00",
    ]  # fmt: skip
    for presented in others:
        assert await operator.admit("EVP-001", presented) == "wrong_password"


async def test_a_password_is_one_stations(operator: Operator) -> None:
    password = await secret(operator)
    await operator.add("EVP-002")
    assert await operator.admit("EVP-002", password) == "wrong_password"


async def test_a_new_password_counts_beside_the_old_one_until_it_is_used(
    operator: Operator,
) -> None:
    old = await secret(operator)
    assert await operator.admit("EVP-001", old) == "authenticated"
    new = await operator.secure("EVP-001")
    assert await operator.admit("EVP-001", old) == "authenticated"
    assert (await operator.show("EVP-001")).password_waits
    assert await operator.admit("EVP-001", new) == "authenticated"
    assert await operator.admit("EVP-001", old) == "wrong_password"
    view = await operator.show("EVP-001")
    assert (view.has_password, view.password_waits) == (True, False)


async def test_of_two_new_passwords_the_last_counts(operator: Operator) -> None:
    await secret(operator)
    first, second = await operator.secure("EVP-001"), await operator.secure("EVP-001")
    assert await operator.admit("EVP-001", first) == "wrong_password"
    assert await operator.admit("EVP-001", second) == "authenticated"


async def test_at_once_ends_the_old_one_now(operator: Operator) -> None:
    old = await secret(operator)
    await operator.admit("EVP-001", old)
    new = await operator.secure("EVP-001", at_once=True)
    assert await operator.admit("EVP-001", old) == "wrong_password"
    assert await operator.admit("EVP-001", new) == "authenticated"


async def test_a_station_without_authentication_is_open_until_it_uses_its_password(
    operator: Operator,
) -> None:
    assert (await operator.add(no_auth=True, cards_without_auth=True)).password is None
    password = await operator.secure("EVP-001")
    for presented in (None, b"", b"junk"):
        assert await operator.admit("EVP-001", presented) == "open"
    assert await operator.admit("EVP-001", password) == "authenticated"
    assert await operator.admit("EVP-001", None) == "no_password"
    station = (await operator.show("EVP-001")).station
    assert (station.no_auth, station.cards_without_auth) == (False, False)


async def test_at_once_closes_an_open_station(operator: Operator) -> None:
    await operator.add(no_auth=True)
    await operator.secure("EVP-001", at_once=True)
    assert await operator.admit("EVP-001", None) == "no_password"


async def test_a_retired_station_is_not_admitted_nor_secured(operator: Operator) -> None:
    password = await secret(operator)
    await operator.retire("EVP-001")
    assert await operator.admit("EVP-001", password) == "retired"
    with pytest.raises(Conflict):
        await operator.secure("EVP-001")


async def test_connections_at_one_moment_use_a_new_password_once(operator: Operator) -> None:
    await secret(operator)
    new = await operator.secure("EVP-001")
    done = await asyncio.gather(*(operator.admit("EVP-001", new) for _ in range(8)))
    assert set(done) == {"authenticated"}


async def test_the_password_is_nowhere_in_the_database(
    operator: Operator, owner: Connection
) -> None:
    password = await secret(operator)
    tables = await owner.fetch(
        "select table_name as name from information_schema.tables where table_schema = 'stations'"
    )
    for table in tables:
        text = await owner.fetchval(
            f"select string_agg(t::text, '') from stations.{table['name']} t"
        )
        assert password not in (text or "")
        assert as_hex(password).lower() not in (text or "")
