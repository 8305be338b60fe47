"""Whose address counts, however IPv4 and IPv6 write it."""

import pytest
import structlog

from evpower.foundation.addresses import (
    ClientAddresses,
    address_group,
    client_address,
    parse_networks,
    wider_networks,
)


@pytest.mark.parametrize("trusted", ["10.0.0.1", "::ffff:10.0.0.1", "10.0.0.0/8"])
@pytest.mark.parametrize("peer", ["10.0.0.1", "::ffff:10.0.0.1", "::ffff:a00:1"])
def test_a_proxy_is_trusted_on_a_listener_of_both_kinds(trusted: str, peer: str) -> None:
    """On `::` Linux shows IPv4 peers as ::ffff:a.b.c.d."""
    assert client_address(peer, "203.0.113.9", parse_networks(trusted)) == "203.0.113.9"


def test_a_proxy_that_writes_mapped_addresses() -> None:
    trusted = parse_networks("10.0.0.0/8")
    chain = "::ffff:203.0.113.9, ::ffff:10.0.0.7"
    assert client_address("10.0.0.1", chain, trusted) == "203.0.113.9"


@pytest.mark.parametrize("network", ["::ffff:0:0/96", "::/0"], ids=["all IPv4", "everything"])
def test_networks_wider_than_ipv4_itself(network: str) -> None:
    """Only what was named is trusted: ::/0 names no IPv4."""
    trusted = parse_networks(network)
    expected = "203.0.113.9" if network == "::ffff:0:0/96" else "10.0.0.1"
    assert client_address("10.0.0.1", "203.0.113.9", trusted) == expected


@pytest.mark.parametrize("peer", ["fe80::1%eth0", "fe80::2%eth0"])
def test_a_link_local_address_with_its_zone(peer: str) -> None:
    assert client_address(peer, "", ()) == "fe80::/64"


@pytest.mark.parametrize(
    ("address", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("203.0.113.9", "::ffff:203.0.113.9", True),
        ("203.0.113.9", "203.0.113.10", False),
    ],
)
def test_an_ipv6_subscriber_is_one_caller(address: str, other: str, *, same: bool) -> None:
    assert (client_address(address, "", ()) == client_address(other, "", ())) is same


@pytest.mark.parametrize(
    ("hop", "address"),
    [
        ("203.0.113.9:51234", "203.0.113.9"),
        (" 203.0.113.9 ", "203.0.113.9"),
        ('"203.0.113.9:80"', "203.0.113.9"),
        ("for=203.0.113.9;proto=https", "203.0.113.9"),
        ('For="[2001:db8:1:2::1]:443"', "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::1]:443", "2001:db8:1:2::/64"),
        ('"[2001:db8:1:2::1]"', "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("[::ffff:203.0.113.9]:1", "203.0.113.9"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_a_hop_is_read_however_a_proxy_writes_it(hop: str, address: str) -> None:
    trusted = parse_networks("10.0.0.0/8")
    assert client_address("10.0.0.1", f"6.6.6.6, {hop}, 10.0.0.2", trusted) == address


@pytest.mark.parametrize(
    "hop",
    ["unknown", "_hidden", "203.0.113.9:", "203.0.113.9:1234567", "203.0.113.9:http",
     "[2001:db8::1", "[2001:db8::1]443", "203.0.113", "1.2.3.4.5", "203.0.113.9:1:2", "localhost",
     "for=_x", "[]"],
)  # fmt: skip
def test_a_hop_that_can_not_be_read_is_a_caller_of_its_own(hop: str) -> None:
    trusted = parse_networks("10.0.0.0/8")
    address = client_address("10.0.0.1", f"{hop}, 10.0.0.2", trusted)
    assert address == f"10.0.0.2 {hop}"
    assert client_address("10.0.0.1", "other, 10.0.0.2", trusted) != address


def test_a_proxy_that_writes_what_can_not_be_read_is_logged_once_an_hour() -> None:
    now = [0.0]
    addresses = ClientAddresses(parse_networks("10.0.0.0/8"), lambda: now[0])
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            assert addresses.of("10.0.0.1", "203.0.113.9:51234") == "203.0.113.9"
            addresses.of("10.0.0.1", "unknown")
            addresses.of("10.0.0.1", "")
            addresses.of("203.0.113.9", "")
        assert [line["event"] for line in logs] == [
            "forwarded_for_unreadable",
            "forwarded_for_missing",
        ]
        now[0] += 3601
        addresses.of("10.0.0.1", "unknown")
    assert logs[-1]["proxy"] == "10.0.0.1"
    assert logs[-1]["times"] == 3


def test_an_ipv6_address_has_wider_networks() -> None:
    assert wider_networks(client_address("2001:db8:1:2::1", "", ())) == (
        "2001:db8:1::/48",
        "2001:db8::/32",
    )
    assert wider_networks("203.0.113.9") == ()
    assert wider_networks("10.0.0.2 unknown") == ()
    assert address_group("2001:db8:1:2::/64") == address_group("2001:db8:1:3::/64")
    assert address_group("203.0.113.9") == "203.0.113.9"
