"""The client address of a request or a socket, behind trusted proxies."""

import ipaddress
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import structlog

from evpower.foundation.logging import RateLimitedLogger

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_MAX_FORWARDED: Final = 20
_IPV6_SITE_BITS: Final = 64
_IPV6_GROUP_BITS: Final = (48, 32)  # what a provider gives one customer, and has itself
_MAPPED_BITS: Final = 96  # ::ffff:a.b.c.d, how a listener of both kinds sees IPv4
_MAX_UNREADABLE: Final = 40  # characters of a hop that can't be parsed
_PORT_DIGITS: Final = 5


def parse_networks(text: str) -> tuple[Network, ...]:
    """Comma-separated addresses and networks. Raises ValueError on anything else."""
    return tuple(
        _unmapped(ipaddress.ip_network(part.strip(), strict=False))
        for part in text.split(",")
        if part.strip()
    )


def _unmapped(network: Network) -> Network:
    """Returns the IPv4 network that an IPv4-mapped IPv6 network stands for; others as they are."""
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= _MAPPED_BITS:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.IPv4Network((int(mapped), network.prefixlen - _MAPPED_BITS))
    return network


def client_address(peer: str, forwarded_for: str, trusted: tuple[Network, ...]) -> str:
    """Returns the caller's address: X-Forwarded-For counts as far as trusted proxies wrote it.

    The header is read from the right. An IPv6 caller is its /64, because one subscriber has all of
    it. A hop that can't be parsed is a caller of its own, named by the proxy that wrote it and by
    its text.
    """
    address = peer
    if forwarded_for and trusted and is_trusted(peer, trusted):
        for hop in reversed(forwarded_for.rsplit(",", _MAX_FORWARDED)[-_MAX_FORWARDED:]):
            text = hop.strip()
            if not text:
                continue
            parsed = parse_hop(text)
            if parsed is None:
                return f"{_site(address)} {text[:_MAX_UNREADABLE]}"
            address = str(parsed)
            if not _within(parsed, trusted):
                break
    return _site(address)


@lru_cache(maxsize=4096)
def parse_hop(text: str) -> Address | None:
    """Returns the address of an X-Forwarded-For hop; port, brackets, quotes, `for=` are allowed."""
    bare = text.strip().strip('"')
    if bare[:4].lower() == "for=":
        bare = bare[4:].partition(";")[0].strip().strip('"')
    if bare.startswith("["):
        bare, closed, port = bare[1:].partition("]")
        if not closed or (port and not _is_port(port)):
            return None
    elif bare.count(":") == 1:
        bare, _, port = bare.partition(":")
        if not _is_port(f":{port}"):
            return None
    try:
        return ipaddress.ip_address(bare.partition("%")[0])  # without the zone of a link
    except ValueError:
        return None


def _is_port(text: str) -> bool:
    digits = text[1:]
    return text[:1] == ":" and digits.isascii() and digits.isdigit() and len(digits) <= _PORT_DIGITS


def is_trusted(address: str, trusted: tuple[Network, ...]) -> bool:
    """Returns whether this peer is one of the trusted proxies."""
    if not trusted:
        return False
    parsed = parse_hop(address)
    return parsed is not None and _within(parsed, trusted)


def _within(address: Address, trusted: tuple[Network, ...]) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    return any(address in network for network in trusted)


@lru_cache(maxsize=4096)
def _site(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64] or "unknown"
    if parsed.version == 4:  # noqa: PLR2004 - the versions of IP
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed), _IPV6_SITE_BITS), strict=False))


@lru_cache(maxsize=4096)
def wider_networks(address: str) -> tuple[str, ...]:
    """Returns the wider networks one party may own, the narrowest first; none for IPv4.

    `address` is what `client_address` returned.
    """
    if not address.endswith(f"/{_IPV6_SITE_BITS}"):
        return ()
    site = ipaddress.IPv6Network(address)
    return tuple(str(site.supernet(new_prefix=bits)) for bits in _IPV6_GROUP_BITS)


def address_group(address: str) -> str:
    """Returns the group that waiting connections are counted by: an IPv4 address, an IPv6 /48."""
    return (wider_networks(address) or (address,))[0]


class ClientAddresses:
    """Resolves client addresses, and warns when the proxies are not as the settings say."""

    def __init__(
        self, trusted: tuple[Network, ...], now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._trusted = trusted
        self._log = RateLimitedLogger(structlog.get_logger(__name__), now_s, interval_s=3600)

    def of(self, peer: str, forwarded_for: str) -> str:
        """Returns the caller's address; a hop that can't be parsed is logged, at most hourly."""
        address = client_address(peer, forwarded_for, self._trusted)
        if " " in address:
            self._log.warning("forwarded_for_unreadable", proxy=peer)
        elif not forwarded_for and is_trusted(peer, self._trusted):
            self._log.warning("forwarded_for_missing", proxy=peer)
        return address
