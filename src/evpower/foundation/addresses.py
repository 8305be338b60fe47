"""Whose address a request or a socket comes from, behind proxies we trust."""

import ipaddress
from functools import lru_cache
from typing import Final

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_MAX_FORWARDED: Final = 20
_IPV6_SITE_BITS: Final = 64
_MAPPED_BITS: Final = 96  # ::ffff:a.b.c.d, how a listener of both kinds sees IPv4


def parse_networks(text: str) -> tuple[Network, ...]:
    """Comma-separated addresses and networks. Raises ValueError on anything else."""
    return tuple(
        _unmapped(ipaddress.ip_network(part.strip(), strict=False))
        for part in text.split(",")
        if part.strip()
    )


def _unmapped(network: Network) -> Network:
    """The IPv4 network that an IPv6 one may be another writing of."""
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= _MAPPED_BITS:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.IPv4Network((int(mapped), network.prefixlen - _MAPPED_BITS))
    return network


def client_address(peer: str, forwarded_for: str, trusted: tuple[Network, ...]) -> str:
    """Who is asking. X-Forwarded-For counts as far as trusted proxies wrote it, from the right.

    An IPv6 caller is its /64: one subscriber has all of it.
    """
    address = peer
    if forwarded_for and trusted and _is_trusted(peer, trusted):
        for hop in reversed(forwarded_for.rsplit(",", _MAX_FORWARDED)[-_MAX_FORWARDED:]):
            candidate = hop.strip()
            try:
                ipaddress.ip_address(candidate)
            except ValueError:
                break
            address = candidate
            if not _is_trusted(candidate, trusted):
                break
    return _site(address)


def _is_trusted(address: str, trusted: tuple[Network, ...]) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        parsed = parsed.ipv4_mapped or parsed
    return any(parsed in network for network in trusted)


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
    return str(ipaddress.ip_network((parsed, _IPV6_SITE_BITS), strict=False))
