"""What identity speaks of: clients, tokens, callers, keys."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from pydantic import SecretStr

from evpower.foundation.bus import Topic

# The user `evpower doctor` signs in as for a moment; never a client.
DOCTOR_USER_ID: Final = UUID("d0c70e00-0000-4000-8000-65767077e472")
# The key is the client's id: profile, status or balance are other than before.
CLIENT_CHANGED: Final = Topic("client", b"c")
ClientStatus = Literal["active", "blocked", "closed"]
Contact = Literal["email", "phone"]
Origin = Literal["register", "token", "supabase", "import"]
Confirm = Literal["auto", "email"]
# viewer: reads every client. operator: also blocks, unblocks and closes clients.
OperatorRole = Literal["viewer", "operator"]


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
    deletion_requested_at: datetime | None = None  # asked for in Supabase, and not taken back
    email_verified: bool = False  # by Supabase Auth; else a claim that others may make too
    phone_verified: bool = False
    banned_until: datetime | None = None  # by Supabase Auth; ends by itself
    unmapped_status: str | None = None  # a word of the project's own; None: nothing waits

    @property
    def profile(self) -> "Profile":
        """Contacts and name alone."""
        return Profile(self.email, self.phone, self.name, self.email_verified, self.phone_verified)


@dataclass(frozen=True, slots=True)
class Profile:
    """What Supabase knows of a person, in our form; None: not known or not usable.

    Verified: Auth confirmed it, and EvPower did not mark it unverified (decision 0009).
    """

    email: str | None = None
    phone: str | None = None
    name: str | None = None
    email_verified: bool = False
    phone_verified: bool = False

    def without(self, contacts: Collection[Contact]) -> "Profile":
        """The same with these contacts empty."""
        return Profile(
            email=None if "email" in contacts else self.email,
            phone=None if "phone" in contacts else self.phone,
            name=self.name,
            email_verified=self.email_verified and "email" not in contacts,
            phone_verified=self.phone_verified and "phone" not in contacts,
        )


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified access token says."""

    sub: UUID
    role: str
    expires_at: datetime
    profile: Profile
    app_metadata: Mapping[
        str, object
    ]  # only servers write it; user_metadata is the user's own word
    is_anonymous: bool = False  # signed in without an email, a phone or a provider

    @property
    def email_confirmed(self) -> bool | None:
        """False when we know it is not; None: a token doesn't say, only Supabase's record does."""
        return False if self.app_metadata.get("evpower_email_unverified") is True else None


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls: a client (with their id), an operator or another system."""

    kind: Literal["client", "operator", "service"]
    client_id: UUID | None  # of a client alone
    name: str  # of the service key or the operator, for logs and the audit; empty for a client
    expires_at: datetime | None  # of the token; a service key has none
    user_id: UUID | None = None  # the Supabase user of a client or an operator
    role: OperatorRole | None = None  # of an operator alone


@dataclass(frozen=True, slots=True)
class AuthUser:
    """A user as Supabase Auth has it."""

    id: UUID
    email: str | None
    email_confirmed: bool
    confirmation_sent: bool
    banned_until: datetime | None
    profile: Profile
    phone: str | None = None  # E.164, of the account itself, not of user_metadata
    phone_confirmed: bool = False
    signed_in: bool = False  # ever
    trusted_contacts: frozenset[Contact] = frozenset()  # contacts that are more than typed
    app_metadata: Mapping[str, object] = field(default_factory=dict[str, object])

    def proves(self, kind: Contact, trusted: Collection[Contact] = ()) -> bool:
        """Whether this contact is confirmed, and by more than having been typed.

        Not by us at registration (decision 0009), nor by an Auth that confirms whatever is typed;
        of kinds in `trusted`, what Auth has confirmed is.
        """
        if kind == "email":
            unverified = self.app_metadata.get("evpower_email_unverified") is True
            confirmed = self.email is not None and self.email_confirmed and not unverified
        else:
            confirmed = self.phone is not None and self.phone_confirmed
        return confirmed and (kind in self.trusted_contacts or kind in trusted)


@dataclass(frozen=True, slots=True)
class NewUser:
    """A user to create in Supabase Auth under an id we chose."""

    id: UUID
    email: str
    phone: str | None
    name: str | None
    password: SecretStr
    email_confirm: bool
    app_metadata: Mapping[str, object] = field(default_factory=dict[str, object])


@dataclass(frozen=True, slots=True)
class MovedUser:
    """A user of another system, to create in Supabase Auth with the password hash it had there."""

    id: UUID
    email: str | None
    email_confirm: bool
    phone: str | None  # the account's own; one that is only told goes into user_metadata
    phone_confirm: bool
    told_phone: str | None
    name: str | None
    password_hash: str | None = field(repr=False)
    app_metadata: Mapping[str, object] = field(default_factory=dict[str, object])


@dataclass(frozen=True, slots=True)
class Intent:
    """A registration that was begun."""

    client_id: UUID
    email: str
    phone: str
    name: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ServiceKey:
    """Another system's key, without the key."""

    id: int
    name: str
    hint: str
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class CreatedKey:
    """A new key: the only time it can be read."""

    id: int
    name: str
    hint: str
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Operator:
    """A Supabase user who may read every client, and act on clients as the role allows."""

    user_id: UUID
    name: str
    role: OperatorRole
    created_at: datetime
