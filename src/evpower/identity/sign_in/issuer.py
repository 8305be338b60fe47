"""EvPower's own access tokens: ES256, with an issuer, an audience and keys of their own.

The newest key signs; older ones verify until their tokens have expired. Private keys are stored
encrypted (AES-256-GCM) with a key derived from the sign-in secret.
"""

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

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
from evpower.identity.sign_in.signing_keys import (
    ALGORITHM,
    AUDIENCE,
    ISSUER,
    KID_PREFIX,
    OwnKey,
    Subject,
)

ACCESS_LIFETIME: Final = timedelta(minutes=15)
_NONCE_BYTES: Final = 12


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key that signs."""

    kid: str
    key: ec.EllipticCurvePrivateKey = field(repr=False)


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
