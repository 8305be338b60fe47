"""Authentication at NATS without a password: an nkey, or the JWT and nkey of a credentials file.

nats-py needs PyNaCl for both; the cryptography package, which access tokens need anyway, has
Ed25519 too; it is imported where there is a key. Files are read at each connection, so that new
ones apply without a restart.
"""

import base64
import binascii
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_SEED: Final = 18 << 3  # the first five bits say "seed", the next five of what
_USER: Final = 20 << 3
_SEED_BYTES: Final = 36  # two of kind, 32 of key, two of checksum
_BLOCK: Final = r"-{3,}BEGIN %s-{3,}\s+([^\s-]\S*)\s+-{3,}END %s-{3,}"
_JWT: Final = re.compile(_BLOCK % ("NATS USER JWT", "NATS USER JWT"))
_NKEY: Final = re.compile(_BLOCK % ("USER NKEY SEED", "USER NKEY SEED"))
_MAX_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class NatsFiles:
    """Paths, "" for none: a credentials file or an nkey's seed, and the trusted authority."""

    creds: str = ""
    nkey: str = ""
    ca: str = ""

    def key(self) -> "NatsKey | None":
        """Returns the key to authenticate with. Raises ValueError, which never quotes a file."""
        if self.creds and self.nkey:
            raise ValueError("a NATS credentials file or an nkey file, not both")
        if self.creds:
            text = _read(self.creds)
            jwt, seed = _JWT.search(text), _NKEY.search(text)
            if jwt is None or seed is None:
                raise ValueError(f"{self.creds} is no NATS credentials file")
            return NatsKey(_parse_seed(seed[1], self.creds), jwt[1])
        if self.nkey:
            return NatsKey(_parse_seed(_read(self.nkey).strip(), self.nkey))
        return None

    def trust(self, *, tls: bool) -> ssl.SSLContext | None:
        """Returns the TLS context; with `ca` only that authority is trusted. Raises ValueError."""
        if not self.ca:
            return ssl.create_default_context() if tls else None
        text = _read(self.ca)
        try:
            # An empty text would load the authorities of the machine.
            return ssl.create_default_context(cadata=text if text.strip() else "-")
        except (ssl.SSLError, ValueError) as error:
            raise ValueError(f"{self.ca} holds no certificate in PEM form") from error

    def check(self) -> None:
        """Reads all files once. Raises ValueError."""
        self.key()
        self.trust(tls=True)


class NatsKey:
    """A user's nkey, with the JWT that names its rights if the server requires one."""

    def __init__(self, seed: bytes, jwt: str = "") -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.jwt = jwt

    @property
    def public(self) -> str:
        """The user's name at the server: "U..."."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        raw = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return _encode(bytes([_USER]) + raw)

    def sign(self, nonce: str) -> bytes:
        """Returns the signature of a server's challenge."""
        return base64.b64encode(self._key.sign(nonce.encode()))


def _read(path: str) -> str:
    try:
        with Path(path).open(encoding="ascii") as file:
            return file.read(_MAX_BYTES)
    except OSError as error:
        raise ValueError(f"{path} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text file") from error


def _parse_seed(text: str, path: str) -> bytes:
    """Returns the 32 bytes in "SU...". Raises ValueError, which never quotes it."""
    try:
        raw = base64.b32decode(text.encode() + b"=" * (-len(text) % 8))
    except (binascii.Error, ValueError):
        raw = b""
    kind = (raw[0] & 248, (raw[0] & 7) << 5 | raw[1] >> 3) if len(raw) == _SEED_BYTES else None
    if kind != (_SEED, _USER) or _checksum(raw[:-2]) != raw[-2:]:
        raise ValueError(f"{path} holds no seed of a NATS user (SU...)") from None
    return raw[2:-2]


def _encode(raw: bytes) -> str:
    return base64.b32encode(raw + _checksum(raw)).decode().rstrip("=")


def _checksum(raw: bytes) -> bytes:
    return binascii.crc_hqx(raw, 0).to_bytes(2, "little")
