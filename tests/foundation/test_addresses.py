"""Whose address counts, however IPv4 and IPv6 write it."""

import pytest

from evpower.foundation.addresses import client_address, parse_networks


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
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("203.0.113.9", "::ffff:203.0.113.9", True),
        ("203.0.113.9", "203.0.113.10", False),
    ],
)
def test_an_ipv6_subscriber_is_one_caller(one: str, other: str, *, same: bool) -> None:
    assert (client_address(one, "", ()) == client_address(other, "", ())) is same


@pytest.mark.parametrize(
    "hop", ["203.0.113.9:51234", "[2001:db8::1]:443", '"[2001:db8::1]"', "203.0.113.9%eth0"]
)
def test_a_hop_that_is_no_address_is_nobody(hop: str) -> None:
    trusted = parse_networks("10.0.0.0/8")
    assert client_address("10.0.0.1", f"{hop}, 10.0.0.2", trusted) == "10.0.0.2"
