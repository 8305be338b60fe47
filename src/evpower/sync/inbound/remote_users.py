"""A person as Supabase has them now: the auth user, and the row the apps read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, cast
from uuid import UUID

from evpower.foundation.clock import read_time
from evpower.identity import DOCTOR_USER_ID, Contact, Profile, profile_of, profile_of_row
from evpower.sync.model import CLIENT_STATUS, MAX_STATUS_WORD, ON_THE_WAY_OUT, is_project_word

_NEVER_CLIENTS: Final = frozenset({UUID(int=0), DOCTOR_USER_ID})


@dataclass(frozen=True, slots=True)
class Row:
    """The row of public.clients; `status` may be any. `written`: EvPower wrote it at least once.

    `status_under_block`: what the status said last, under a block of EvPower's.
    """

    profile: Profile
    status: str
    delete_requested_at: datetime | None
    delete_requested: bool
    written: bool
    status_under_block: str = ""
    unusable: tuple[Contact, ...] = ()


@dataclass(frozen=True, slots=True)
class User:
    """The user of Supabase Auth; `deleted` is Auth's soft deletion, where the row stays.

    `phone` is the account's own, as Auth stores it.
    """

    profile: Profile
    deleted: bool
    anonymous: bool = False
    banned_until: datetime | None = None
    phone: object = None
    unusable: tuple[Contact, ...] = ()


@dataclass(frozen=True, slots=True)
class RemoteUser:
    """One id of Supabase, as it is now; without both it has nothing of them."""

    id: UUID
    row: Row | None = None
    user: User | None = None

    @property
    def profile(self) -> Profile:
        """What counts: the row's where there is one, else the user's."""
        said = self.row or self.user
        return said.profile if said is not None else Profile()

    @property
    def unusable(self) -> tuple[Contact, ...]:
        """Contacts that say something which is no email or phone; they count as empty."""
        said = self.row or self.user
        return said.unusable if said is not None else ()

    @property
    def alive(self) -> bool:
        """Whether somebody can sign in as them."""
        return self.user is not None and not self.user.deleted

    @property
    def anonymous(self) -> bool:
        """Whether their user signed in without an email, a phone or a provider."""
        return self.user is not None and self.user.anonymous

    @property
    def unknown_word(self) -> str | None:
        """A status of the project's own that EvPower never wrote over; None: there is none."""
        row = self.row
        if row is None or row.written or not is_project_word(row.status):
            return None
        return row.status[:MAX_STATUS_WORD]

    @property
    def leaving(self) -> bool | None:
        """Whether they asked to be deleted; None: Supabase does not say. `active` takes it back."""
        if self.row is None:
            return None
        said = self.row.status
        if said == CLIENT_STATUS["blocked"]:
            said = self.row.status_under_block
        if self.row.delete_requested or said in ON_THE_WAY_OUT:
            return True
        return False if said == CLIENT_STATUS["active"] else None


def parse_all(raw: object) -> list[RemoteUser]:
    """Those of a list that are people with ids of ours; raises ValueError for no list."""
    if not isinstance(raw, list):
        raise ValueError("no list of people")  # noqa: TRY004 - it is what came, not our mistake
    found = (parse(one) for one in cast("list[object]", raw))
    return [person for person in found if person is not None]


def parse(raw: object) -> RemoteUser | None:
    """Read one person, unknown fields aside; None for an id that can't be a client's here."""
    if not isinstance(raw, Mapping):
        return None
    fields = cast("Mapping[str, object]", raw)
    client_id = parse_id(fields.get("id"))
    if client_id is None:
        return None
    user = _user(fields.get("user"))
    return RemoteUser(client_id, _row(fields.get("client"), user), user)


def parse_id(raw: object) -> UUID | None:
    """Only a UUID as PostgreSQL writes it: any other spelling would be another row there."""
    if not isinstance(raw, str):
        return None
    try:
        found = UUID(raw)
    except ValueError:
        return None
    return found if str(found) == raw and found not in _NEVER_CLIENTS else None


def parse_time(raw: object) -> datetime | None:
    """ISO 8601, or PostgreSQL's own form with a space; without a zone it is UTC."""
    if not isinstance(raw, str):
        return None
    try:
        return read_time(raw.strip(), zone=UTC)
    except ValueError:
        return None


def _row(raw: object, user: User | None) -> Row | None:
    if not isinstance(raw, Mapping):
        return None
    fields = cast("Mapping[str, object]", raw)
    phone = fields.get("phone")
    profile = (
        profile_of_row(fields, user.profile, user.phone)
        if user is not None
        else profile_of_row(fields)
    )
    requested = fields.get("delete_requested_at")
    return Row(
        profile=profile,
        status=str(fields.get("status") or ""),
        delete_requested_at=parse_time(requested),
        delete_requested=bool(requested),
        written=fields.get("written") is not False,
        status_under_block=str(fields.get("status_under_block") or ""),
        unusable=_unusable(profile, [fields.get("email")], [phone]),
    )


def _user(raw: object) -> User | None:
    if not isinstance(raw, Mapping):
        return None
    fields = cast("Mapping[str, object]", raw)
    metadata = fields.get("metadata")
    told: Mapping[str, object] = (
        cast("Mapping[str, object]", metadata) if isinstance(metadata, Mapping) else {}
    )
    confirmed: list[Contact] = []
    if fields.get("email_confirmed") is True and fields.get("email_unverified") is not True:
        confirmed.append("email")
    if fields.get("phone_confirmed") is True:
        confirmed.append("phone")
    profile = profile_of(
        {"email": fields.get("email"), "phone": fields.get("phone"), "user_metadata": dict(told)},
        confirmed,
    )
    return User(
        profile=profile,
        phone=fields.get("phone"),
        deleted=fields.get("deleted") is True,
        banned_until=parse_time(fields.get("banned_until")),
        anonymous=fields.get("anonymous") is True,
        unusable=_unusable(
            profile, [fields.get("email")], [fields.get("phone"), told.get("phone")]
        ),
    )


def _unusable(
    profile: Profile, emails: Sequence[object], phones: Sequence[object]
) -> tuple[Contact, ...]:
    found: list[Contact] = []
    if profile.email is None and any(_says(one) for one in emails):
        found.append("email")
    if profile.phone is None and any(_says(one) for one in phones):
        found.append("phone")
    return tuple(found)


def _says(value: object) -> bool:
    return value is not None and value is not False and bool(str(value).strip())
