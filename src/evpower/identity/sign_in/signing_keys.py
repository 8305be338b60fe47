"""EvPower's signing keys as they are stored and published; `issuer` makes them and signs."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

ISSUER: Final = "evpower"
AUDIENCE: Final = "evpower-app"
ALGORITHM: Final = "ES256"
KID_PREFIX: Final = "evpower-"

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
class Subject:
    """Whom a token is for; `role` is an operator's, "" for a client."""

    user_id: UUID
    kind: UserType
    phone: str
    role: str = ""


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
