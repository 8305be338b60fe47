"""What a WebSocket is checked for."""

import pytest

from evpower.foundation.connection_limits import ConnectionSlot, SocketLimits, origin_allowed

ALLOWED = frozenset({"https://app.evpower.kg"})


@pytest.mark.parametrize(
    ("origin", "fine"),
    [
        ("", True),  # an app that is no browser
        ("https://app.evpower.kg", True),
        ("https://app.evpower.kg.evil.example", False),
        ("http://app.evpower.kg", False),
        ("null", False),
    ],
)
def test_a_browser_must_come_from_a_named_origin(origin: str, *, fine: bool) -> None:
    assert origin_allowed(origin, ALLOWED) is fine


def test_any_origin_where_a_star_is_configured() -> None:
    assert origin_allowed("https://evil.example", frozenset({"*"}))


def test_sockets_are_counted_by_address_by_key_and_in_all() -> None:
    limits = SocketLimits(per_address=2, per_key=1, total=3)
    first, second = limits.open("a"), limits.open("a")
    assert first is not None
    assert second is not None
    assert limits.open("a") is None, "a third of one address"
    assert first.claim("driver")
    assert not second.claim("driver"), "a second of one driver"
    assert limits.open("b") is not None
    assert limits.open("c") is None, "a fourth in all"
    first.leave()
    first.leave()
    assert len(limits) == 2, "left once, however often it is said"
    assert second.claim("driver"), "the driver's place is free again"
    assert limits.open("a") is not None


def test_few_may_wait_at_an_address_where_many_have_signed_in() -> None:
    limits = SocketLimits(per_address=5, per_key=9, total=9, waiting_per_address=2)
    signed_in: list[ConnectionSlot] = []
    for _ in range(4):
        connection_slot = limits.open("a mobile operator")
        assert connection_slot is not None
        connection_slot.settle()
        connection_slot.settle()
        signed_in.append(connection_slot)
    last = limits.open("a mobile operator")
    assert last is not None
    assert limits.open("a mobile operator") is None, "a sixth in all"
    signed_in[0].leave()
    assert limits.open("a mobile operator") is not None
    signed_in[1].leave()
    assert limits.open("a mobile operator") is None, "a third that waits"
    assert limits.open("elsewhere") is not None
    last.settle()
    assert limits.open("a mobile operator") is not None
    last.leave()


def test_nothing_is_kept_of_addresses_that_left() -> None:
    for waiting in (None, 3):
        limits = SocketLimits(per_address=5, per_key=9, total=9, waiting_per_address=waiting)
        for number in range(100):
            connection_slot = limits.open(f"address {number}")
            assert connection_slot is not None
            connection_slot.claim(f"driver {number}")
            if number % 2:
                connection_slot.settle()
            connection_slot.leave()
        counts = limits._counts
        assert not any((counts.addresses, counts.waiting, counts.keys))


def test_a_whole_ipv6_network_has_the_waiting_sockets_of_one_address() -> None:
    limits = SocketLimits(per_address=5, per_key=9, total=99, waiting_per_address=2)
    first = limits.open("2001:db8:1:1::/64")
    assert first is not None
    assert limits.open("2001:db8:1:2::/64") is not None
    assert limits.open("2001:db8:1:3::/64") is None, "the same /48"
    assert limits.open("2001:db8:2:1::/64") is not None
    first.settle()
    assert limits.open("2001:db8:1:3::/64") is not None


def test_one_party_s_networks_do_not_take_every_place() -> None:
    limits = SocketLimits(per_address=2, per_key=9, total=1000)
    open_ones: list[ConnectionSlot] = []
    for subnet in range(40):
        for _ in range(3):
            connection_slot = limits.open(f"2001:db8:1:{subnet:x}::/64")
            open_ones += [connection_slot] if connection_slot is not None else []
    assert len(open_ones) == 2 * 16, "a /48 has sixteen times what a /64 has"
    assert limits.open("2001:db8:2::/64") is not None, "another /48"
    assert limits.open("203.0.113.7") is not None
    open_ones[0].leave()
    assert limits.open("2001:db8:1:ff::/64") is not None, "a place is free again"
    for site in range(3, 60):
        for subnet in range(16):
            limits.open(f"2001:db8:{site:x}:{subnet:x}::/64")
    assert limits.open("2001:db8:ffff::/64") is None, "a /32 has 256 times as many"
    assert limits.open("2001:db9::/64") is not None
