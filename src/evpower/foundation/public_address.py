"""Whether a host is on the public internet, for calls whose address a stranger chose."""

import asyncio
import ipaddress
import socket
from typing import Final

from evpower.foundation.addresses import Address

# IPv4 inside IPv6, as a network without IPv4 sees it (RFC 6052).
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_LOW_BITS: Final = 0xFFFF_FFFF


class NotPublic(OSError):
    """The host has an address that is inside of some network, or none at all."""


async def public_address(host: str, port: int) -> str:
    """Returns an address of a host, of which every address is public.

    Raises NotPublic, or OSError where the name is not resolved.
    """
    entries = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in entries]
    if not addresses or not all(map(is_public, addresses)):
        raise NotPublic("the host has an address that is not public")
    return addresses[0]


def is_public(text: str) -> bool:
    """Returns whether an IP address is reached through the internet, and nowhere else."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    inner = _inner(address)
    return all(each.is_global and not each.is_multicast for each in inner)


def _inner(address: Address) -> list[Address]:
    """Returns the address, or the IPv4 addresses that an IPv6 one stands for."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address in _NAT64:
        return [ipaddress.IPv4Address(int(address) & _LOW_BITS)]
    if address.sixtofour is not None:
        return [address.sixtofour]
    if address.teredo is not None:
        return list(address.teredo)
    return [address]
