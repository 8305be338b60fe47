"""Types of identity: clients, tokens, callers, keys."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal, NamedTuple
from uuid import UUID

from pydantic import SecretStr

from evpower.foundation.bus import Topic

# The user that `evpower doctor` signs in as during its check; never a client.
DOCTOR_USER_ID: Final = UUID("d0c70e00-0000-4000-8000-65767077e472")
# The key is the client's id; published when its profile, status or balance has changed.
CLIENT_CHANGED: Final = Topic("client", b"c")
ClientStatus = Literal["active", "blocked", "closed"]
Contact = Literal["email", "phone"]
Origin = Literal["register", "token", "supabase", "import"]
Confirm = Literal["auto", "email"]
# Who made an access token: Supabase Auth, EvPower itself, or the backend that EvPower replaces.
IssuedBy = Literal["supabase", "evpower", "old"]
# What each may do is in roles.py.
OperatorRole = Literal["viewer", "support", "operator", "finance", "admin"]


@dataclass(frozen=True, slots=True)
class Client:
    """A person with a wallet; the id is the Supabase Auth UUID."""

    id: UUID
    email: str | None
    phone: str | None  # E.164
    name: str | None
    status: ClientStatus
    origin: Origin
    created_at: datetime
    updated_at: datetime
    deletion_requested_at: datetime | None = None  # requested in Supabase, and not withdrawn
    email_verified: bool = False  # by Supabase Auth; else a claim that others may make too
    phone_verified: bool = False
    banned_until: datetime | None = None  # by Supabase Auth; ends by itself
    unmapped_status: str | None = None  # the project's own status word, until it is mapped

    @property
    def profile(self) -> "Profile":
        """The client's contacts and name."""
        return Profile(self.email, self.phone, self.name, self.email_verified, self.phone_verified)

    def with_phone(self, phone: str) -> "Profile":
        """Returns the client's contacts with this verified phone."""
        return Profile(self.email, phone, self.name, self.email_verified, phone_verified=True)


class Standing(NamedTuple):
    """What decides whether a client may move money."""

    status: ClientStatus
    banned_until: datetime | None
    unmapped_status: str | None  # from before EvPower
    deletion_requested_at: datetime | None


@dataclass(frozen=True, slots=True)
class Profile:
    """Contacts and name from Supabase, normalized; None: missing or invalid.

    Verified: Auth confirmed the contact, and EvPower did not mark it unverified (decision 0009).
    """

    email: str | None = None
    phone: str | None = None
    name: str | None = None
    email_verified: bool = False
    phone_verified: bool = False

    def without(self, contacts: Collection[Contact]) -> "Profile":
        """Returns the profile with these contacts empty."""
        return Profile(
            email=None if "email" in contacts else self.email,
            phone=None if "phone" in contacts else self.phone,
            name=self.name,
            email_verified=self.email_verified and "email" not in contacts,
            phone_verified=self.phone_verified and "phone" not in contacts,
        )


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims of a verified access token."""

    sub: UUID
    role: str
    expires_at: datetime
    profile: Profile
    app_metadata: Mapping[
        str, object
    ]  # written by servers only, unlike user_metadata, which the user may write
    is_anonymous: bool = False  # signed in without an email, a phone or a provider
    issuer: IssuedBy = "supabase"
    old_id: str = ""  # the old backend's id of the client; `sub` is its client here once resolved
    is_admin: bool = False  # issued to an operator: it never becomes a client's
    phone: str = ""  # that an operator signed in with; of EvPower's own tokens only

    @property
    def may_be_operator(self) -> bool:
        """Whether the user's role counts: a token that was issued to a client stays a client's."""
        return self.issuer == "supabase" or self.is_admin

    @property
    def email_confirmed(self) -> bool | None:
        """False if EvPower marked it unverified; else None: a token does not contain it."""
        return False if self.app_metadata.get("evpower_email_unverified") is True else None


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller: a client, an operator or another system."""

    kind: Literal["client", "operator", "service"]
    client_id: UUID | None  # of a client only
    name: str  # of the service key or the operator, for logs and the audit; empty for a client
    expires_at: datetime | None  # of the token; a service key has none
    # The Supabase user of an operator, or of a client whose token may become an operator's.
    user_id: UUID | None = None
    role: OperatorRole | None = None  # of an operator only


@dataclass(frozen=True, slots=True)
class AuthUser:
    """A user as Supabase Auth has it."""

    id: UUID
    email: str | None
    email_confirmed: bool
    banned_until: datetime | None
    profile: Profile
    phone: str | None = None  # E.164, of the account itself, not of user_metadata
    phone_confirmed: bool = False
    signed_in: bool = False  # ever
    trusted_contacts: frozenset[Contact] = frozenset()  # see verification.py
    app_metadata: Mapping[str, object] = field(default_factory=dict[str, object])

    def has_verified(self, kind: Contact, trusted: Collection[Contact] = ()) -> bool:
        """Returns whether the user is known to control this contact.

        A confirmation by EvPower at registration (decision 0009) is not enough, nor one by an Auth
        that confirms any typed contact. For kinds in `trusted`, Auth's confirmation is enough.
        """
        if kind == "email":
            unverified = self.app_metadata.get("evpower_email_unverified") is True
            confirmed = self.email is not None and self.email_confirmed and not unverified
        else:
            confirmed = self.phone is not None and self.phone_confirmed
        return confirmed and (kind in self.trusted_contacts or kind in trusted)


@dataclass(frozen=True, slots=True)
class NewUser:
    """A user to create in Supabase Auth under an id that EvPower chose."""

    id: UUID
    email: str
    phone: str | None
    name: str | None
    password: SecretStr
    email_confirm: bool
    app_metadata: Mapping[str, object] = field(default_factory=dict[str, object])


@dataclass(frozen=True, slots=True)
class ImportedUser:
    """A user of another system, to create in Supabase Auth with its password hash."""

    id: UUID
    email: str | None
    email_confirm: bool
    phone: str | None  # of the account itself
    phone_confirm: bool
    claimed_phone: str | None  # unconfirmed; stored in user_metadata
    name: str | None
    password_hash: str | None = field(default=None, repr=False)
    app_metadata: Mapping[str, object] = field(default_factory=dict[str, object])


@dataclass(frozen=True, slots=True)
class Intent:
    """A started registration."""

    client_id: UUID
    email: str
    phone: str
    name: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ServiceKey:
    """Another system's key, without its secret."""

    id: int
    name: str
    hint: str
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class CreatedKey:
    """A new key; its secret can't be read later."""

    id: int
    name: str
    hint: str
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Operator:
    """A Supabase user who may read every client, and act as the role allows."""

    user_id: UUID
    name: str
    role: OperatorRole
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Act:
    """An entry of the audit."""

    id: int
    at: datetime
    actor: str
    action: str
    subject: str
    reason: str | None
    details: Mapping[str, object]
