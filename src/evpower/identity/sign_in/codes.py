"""Codes of phone sign-in: how they are made, hashed and compared, and how likely a guess is."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

DIGITS: Final = 6
POSSIBLE_CODES: Final = 1_000_000
LIFETIME: Final = timedelta(minutes=5)
# Wrong codes by which a code becomes void for callers at addresses that signed the phone in
# before, as many for the address that asked for it, and for all others. Migration 0017 repeats it.
ATTEMPTS: Final = 5
RESEND_AFTER: Final = timedelta(seconds=60)
MIN_SECRET_BYTES: Final = 32
_SALT_BYTES: Final = 16
_ADDRESS_BYTES: Final = 16
_KEY_BYTES: Final = 32
_CODE: Final = re.compile(rf"[0-9]{{{DIGITS}}}")


def derive(secret: str, purpose: str) -> bytes:
    """Returns the key for one purpose: each use of the setting has a key of its own (RFC 5869)."""
    from cryptography.hazmat.primitives.hashes import SHA256  # only where codes are sent or checked
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    kdf = HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=f"evpower {purpose}".encode())
    return kdf.derive(secret.encode())


@dataclass(frozen=True, slots=True)
class HashedCode:
    """A code as it is stored: a copy of the database, without the setting, does not reveal it."""

    salt: bytes
    code_hash: bytes


class CodeHasher:
    """Hashes codes and addresses with keys derived from the sign-in secret."""

    def __init__(self, secret: str) -> None:
        """Raises ValueError for a secret below 32 bytes."""
        if len(secret.encode()) < MIN_SECRET_BYTES:
            raise ValueError(
                f"EVPOWER_SIGN_IN_SECRET needs at least {MIN_SECRET_BYTES} bytes: "
                "openssl rand -base64 32"
            )
        self._code_key = derive(secret, "sign-in codes")
        self._address_key = derive(secret, "sign-in addresses")

    def hash_code(self, phone: str, code: str, salt: bytes | None = None) -> HashedCode:
        """Returns the hash of a new code; it is valid for this phone only."""
        salt = secrets.token_bytes(_SALT_BYTES) if salt is None else salt
        text = b"%s|%s|%s" % (salt, phone.encode(), code.encode())
        return HashedCode(salt, hmac.digest(self._code_key, text, hashlib.sha256))

    def matches(self, phone: str, code: str, stored: HashedCode) -> bool:
        """Returns whether it is this code, in a time that does not depend on the digits."""
        return hmac.compare_digest(
            self.hash_code(phone, code, stored.salt).code_hash, stored.code_hash
        )

    def hash_address(self, address: str) -> bytes:
        """Returns what is stored of an address; `address` is what `client_address` returned."""
        return hmac.digest(self._address_key, address.encode(), hashlib.sha256)[:_ADDRESS_BYTES]


def new_code(below: Callable[[int], int] = secrets.randbelow) -> str:
    """Returns six random digits."""
    return f"{below(POSSIBLE_CODES):0{DIGITS}}"


def is_code(text: str) -> bool:
    """Returns whether a text can be a code at all."""
    return text.isascii() and _CODE.fullmatch(text) is not None
