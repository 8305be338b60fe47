"""EvPower's own access tokens: ES256, with an issuer, an audience and keys of their own.

The newest key signs; older ones verify until their tokens have expired. Private keys are stored
encrypted (AES-256-GCM) with a key derived from the sign-in secret.
"""

import base64
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

import jwt
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

from evpower.foundation.ids import new_code
from evpower.identity.sign_in.codes import derive

ISSUER: Final = "evpower"
AUDIENCE: Final = "evpower-app"
ALGORITHM: Final = "ES256"
KID_PREFIX: Final = "evpower-"
ACCESS_LIFETIME: Final = timedelta(minutes=15)
_NONCE_BYTES: Final = 12

UserType = Literal["client", "admin"]


@dataclass(frozen=True, slots=True)
class OwnKey:
    """A signing key as the database has it."""

    kid: str
    public_key: bytes  # the point of P-256, uncompressed
    private_key: bytes = field(repr=False)  # encrypted
    created_at: datetime
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key that signs."""

    kid: str
    key: ec.EllipticCurvePrivateKey = field(repr=False)


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom a token is for; `role` is an operator's, "" for a client."""

    user_id: UUID
    kind: UserType
    phone: str
    role: str = ""


class KeyBox:
    """Makes, encrypts and opens signing keys."""

    def __init__(self, secret: str) -> None:
        self._cipher = AESGCM(derive(secret, "signing keys"))

    def new_key(self, now: datetime) -> OwnKey:
        """Returns a new key under a random id."""
        kid = KID_PREFIX + new_code()
        key = ec.generate_private_key(ec.SECP256R1())
        public = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        private = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return OwnKey(kid, public, nonce + self._cipher.encrypt(nonce, private, kid.encode()), now)

    def open(self, stored: OwnKey) -> Signer | None:
        """Returns the private key; None: it was encrypted with another secret."""
        nonce, sealed = stored.private_key[:_NONCE_BYTES], stored.private_key[_NONCE_BYTES:]
        try:
            private = self._cipher.decrypt(nonce, sealed, stored.kid.encode())
        except InvalidTag:
            return None
        key = load_der_private_key(private, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)  # noqa: S101 - as new_key made it
        return Signer(stored.kid, key)


def public_key(stored: OwnKey) -> ec.EllipticCurvePublicKey:
    """Returns the public half. Raises ValueError."""
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), stored.public_key)


def sign(signer: Signer, subject: Subject, now: datetime) -> str:
    """Returns an access token; the apps read sub, type, phone, role, iat and exp."""
    issued_s = int(now.timestamp())
    claims: dict[str, Any] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": str(subject.user_id),
        "type": subject.kind,
        "phone": subject.phone,
        "iat": issued_s,
        "exp": issued_s + int(ACCESS_LIFETIME.total_seconds()),
    }
    if subject.role:
        claims["role"] = subject.role
    return jwt.encode(claims, signer.key, algorithm=ALGORITHM, headers={"kid": signer.kid})


def public_jwk(stored: OwnKey) -> Mapping[str, str]:
    """Returns the public half as a JWK (RFC 7518 6.2): for another system that verifies tokens."""
    x, y = stored.public_key[1:33], stored.public_key[33:]
    return {
        "kty": "EC",
        "crv": "P-256",
        "x": _base64url(x),
        "y": _base64url(y),
        "kid": stored.kid,
        "alg": ALGORITHM,
        "use": "sig",
    }


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def newest_first(keys: Sequence[OwnKey]) -> list[OwnKey]:
    """Returns keys that are not revoked, the one that signs first."""
    usable = [key for key in keys if key.revoked_at is None]
    return sorted(usable, key=lambda key: (key.created_at, key.kid), reverse=True)
