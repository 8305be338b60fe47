"""Passwords of stations: made, replaced, and compared with what a station presents."""

import binascii
import re
from hashlib import sha256
from hmac import compare_digest
from typing import Final

from evpower.foundation.db import Connection
from evpower.foundation.ids import new_code
from evpower.stations import store, store_credentials
from evpower.stations.model import Admission, Station

# OCPP 1.6 allows 16 to 20 characters as text; 20 of this alphabet hold 99 bits, so that a plain
# hash of them can't be searched.
_LENGTH: Final = 20
_HEX: Final = re.compile(rb"[0-9A-Fa-f]{32,40}")
_ONLY_HEX: Final = re.compile(r"[0-9a-f]*")


async def give_password(connection: Connection, station_id: str) -> str:
    """Stores a new password's hash and returns the password; it counts when first used."""
    password = new_code(_LENGTH)
    while _ONLY_HEX.fullmatch(password):  # a station might take it for hex and decode it
        password = new_code(_LENGTH)
    digest = sha256(password.encode()).digest()
    await store_credentials.insert_credential(connection, station_id, digest)
    return password


def as_hex(password: str) -> str:
    """Returns the password as ChangeConfiguration(AuthorizationKey) takes it."""
    return password.encode().hex().upper()


async def admit(connection: Connection, station: Station, presented: bytes | None) -> Admission:
    """Returns how a station that presents a password may connect.

    The password may come as its text or as the hex of it, in either case. The first use of a new
    password ends the one before, and connecting without any. `station` must be locked
    (`lock_station`), so that two connections do not both use it first.
    """
    if station.retired_at is not None:
        return "retired"
    if presented:
        digests = digests_of(presented)
        for credential in await store_credentials.credentials_of(connection, station.id):
            if any(compare_digest(credential.secret_sha256, digest) for digest in digests):
                if credential.activated_at is None:
                    await store_credentials.end_present(connection, station.id)
                    await store_credentials.activate_credential(connection, credential.id)
                    await store.end_no_auth(connection, station.id)
                return "authenticated"
    if station.no_auth:
        return "open"
    return "wrong_password" if presented else "no_password"


def digests_of(presented: bytes) -> list[bytes]:
    """Returns the hashes of what a password may be: as it came, and out of its hex."""
    forms = [presented]
    if _HEX.fullmatch(presented) and len(presented) % 2 == 0:
        forms.append(binascii.unhexlify(presented))
    return [sha256(form).digest() for form in forms]
