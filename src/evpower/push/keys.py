"""The VAPID keys (RFC 8292) by which a push service knows us, and the settings of messages."""

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from evpower.config import Settings
from evpower.push.hosts import PushHosts, read_hosts

_KEY_BYTES: Final = 32
_POINT_BYTES: Final = 65
_AUTH_BYTES: Final = 16
_CONTACT: Final = re.compile(r"mailto:[^\s@<>]+@[^\s@<>]+\.[^\s@<>]+|https://[^\s<>]+")


@dataclass(frozen=True, slots=True)
class VapidKeys:
    """Our key pair; `public` is what an app gives its browser as applicationServerKey."""

    private: ec.EllipticCurvePrivateKey
    public: str


@dataclass(frozen=True, slots=True)
class PushSettings:
    """What sending needs; `contact`: where a push service reaches the operator."""

    keys: VapidKeys
    contact: str
    hosts: PushHosts


def make_private_key() -> str:
    """Returns a new private key as the setting has it."""
    number = ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value
    return to_base64url(number.to_bytes(_KEY_BYTES))


def read_private_key(text: str) -> VapidKeys:
    """Returns the pair of a private key. Raises ValueError, which never quotes it."""
    raw = from_base64url(text)
    if raw is None or len(raw) != _KEY_BYTES:
        raise ValueError("it is no key of 32 bytes in base64url: make one with evpower push keys")
    try:
        private = ec.derive_private_key(int.from_bytes(raw), ec.SECP256R1())
    except ValueError:
        raise ValueError("it is no key of P-256: make one with evpower push keys") from None
    point = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return VapidKeys(private, to_base64url(point))


def push_settings(settings: Settings) -> PushSettings | None:
    """Returns what sending needs; None: it is not configured. Raises ValueError."""
    text = settings.push_vapid_private_key.get_secret_value()
    if problems := push_problems(settings):
        raise ValueError("; ".join(problems))
    if not text:
        return None
    return PushSettings(read_private_key(text), settings.push_contact, _hosts(settings))


def push_problems(settings: Settings) -> list[str]:
    """Returns what is wrong with the settings of push messages. No secret is quoted."""
    texts: list[str] = []
    text = settings.push_vapid_private_key.get_secret_value()
    try:
        _hosts(settings)
    except ValueError as error:
        texts.append(f"EVPOWER_PUSH_HOSTS: {error}")
    if not text:
        return texts
    try:
        read_private_key(text)
    except ValueError as error:
        texts.append(f"EVPOWER_PUSH_VAPID_PRIVATE_KEY: {error}")
    if not _CONTACT.fullmatch(settings.push_contact):
        texts.append(
            "EVPOWER_PUSH_CONTACT must read mailto:support@example.kg or https://example.kg: push "
            "services write there when messages do harm"
        )
    return texts


def read_point(text: str) -> bytes | None:
    """Returns a public key of P-256 in base64url, uncompressed; None: it is none."""
    raw = from_base64url(text)
    if raw is None or len(raw) != _POINT_BYTES:
        return None
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw)
    except ValueError:
        return None
    return raw


def read_auth(text: str) -> bytes | None:
    """Returns the authentication secret of a subscription; None: it is none."""
    raw = from_base64url(text)
    return raw if raw is not None and len(raw) == _AUTH_BYTES else None


def to_base64url(raw: bytes) -> str:
    """Returns base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes | None:
    """Returns the bytes of base64url, padded or not, or of base64; None: it is neither."""
    bare = text.strip().rstrip("=").replace("+", "-").replace("/", "_")
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None


def _hosts(settings: Settings) -> PushHosts:
    return read_hosts(settings.push_hosts, may_be_local=settings.env == "development")
