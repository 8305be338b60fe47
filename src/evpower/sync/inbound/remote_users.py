"""A user as Supabase has it now: the auth user, and the row of public.clients the apps read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, cast
from uuid import UUID

from evpower.foundation.clock import read_time
from evpower.identity import DOCTOR_USER_ID, Contact, Profile, profile_of, profile_of_row
from evpower.sync.model import CLIENT_STATUS, DELETION_STATUSES, MAX_STATUS_WORD, is_project_word

_NEVER_CLIENTS: Final = frozenset({UUID(int=0), DOCTOR_USER_ID})


@dataclass(frozen=True, slots=True)
class Row:
    """The row of public.clients; `status` may be any text. `written`: EvPower wrote it before.

    `status_under_block`: the last status Supabase had while EvPower blocked the client. `filled`:
    what of email, phone and name is neither empty nor stands for nothing (contact_of_closed).
    """

    profile: Profile
    status: str
    delete_requested_at: datetime | None
    delete_requested: bool
    written: bool
    status_under_block: str = ""
    unusable: tuple[Contact, ...] = ()
    filled: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class User:
    """The user of Supabase Auth; `deleted` is Auth's soft deletion, where the row stays.

    `phone` is the account's, as Auth stores it.
    """

    profile: Profile
    deleted: bool
    anonymous: bool = False
    banned_until: datetime | None = None
    phone: object = None
    unusable: tuple[Contact, ...] = ()


@dataclass(frozen=True, slots=True)
class RemoteUser:
    """What Supabase has of one id now; without row and user it has nothing."""

    id: UUID
    row: Row | None = None
    user: User | None = None

    @property
    def profile(self) -> Profile:
        """The profile that counts: the row's where there is a row, else the user's."""
        source = self.row or self.user
        return source.profile if source is not None else Profile()

    @property
    def unusable(self) -> tuple[Contact, ...]:
        """Contacts that are not empty and no valid email or phone; they count as empty."""
        source = self.row or self.user
        return source.unusable if source is not None else ()

    @property
    def alive(self) -> bool:
        """Whether there is a user who can sign in."""
        return self.user is not None and not self.user.deleted

    @property
    def anonymous(self) -> bool:
        """Whether the user signed in without an email, a phone or a provider."""
        return self.user is not None and self.user.anonymous

    @property
    def unmapped_word(self) -> str | None:
        """A status word of the project's own that EvPower never overwrote; None: there is none."""
        row = self.row
        if row is None or row.written or not is_project_word(row.status):
            return None
        return row.status[:MAX_STATUS_WORD]

    @property
    def deletion_requested(self) -> bool | None:
        """Whether deletion was requested; None: Supabase does not say. `active` withdraws it."""
        if self.row is None:
            return None
        status = self.row.status
        if status == CLIENT_STATUS["blocked"]:
            status = self.row.status_under_block
        if self.row.delete_requested or status in DELETION_STATUSES:
            return True
        return False if status == CLIENT_STATUS["active"] else None


def parse_all(raw: object) -> list[RemoteUser]:
    """Returns the users of a list whose ids can be clients'. Raises ValueError for no list."""
    if not isinstance(raw, list):
        raise ValueError("no list of users")  # noqa: TRY004 - the response is wrong, not our call
    users = (parse(entry) for entry in cast("list[object]", raw))
    return [user for user in users if user is not None]


def parse(raw: object) -> RemoteUser | None:
    """Returns one user, ignoring unknown fields; None for an id that can't be a client's."""
    if not isinstance(raw, Mapping):
        return None
    fields = cast("Mapping[str, object]", raw)
    client_id = parse_id(fields.get("id"))
    if client_id is None:
        return None
    user = _user(fields.get("user"))
    return RemoteUser(client_id, _row(fields.get("client"), user, client_id), user)


def parse_id(raw: object) -> UUID | None:
    """Returns a UUID in PostgreSQL's spelling, else None: another spelling is another row there."""
    if not isinstance(raw, str):
        return None
    try:
        parsed = UUID(raw)
    except ValueError:
        return None
    return parsed if str(parsed) == raw and parsed not in _NEVER_CLIENTS else None


def parse_time(raw: object) -> datetime | None:
    """Returns a time in ISO 8601 or PostgreSQL's form with a space; without a zone it is UTC."""
    if not isinstance(raw, str):
        return None
    try:
        return read_time(raw.strip(), zone=UTC)
    except ValueError:
        return None


def _row(raw: object, user: User | None, client_id: UUID) -> Row | None:
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
        filled=_filled(fields, client_id),
    )


def _filled(fields: Mapping[str, object], client_id: UUID) -> tuple[str, ...]:
    """Returns what the row has of a person; the id in a column that refuses null is nothing."""
    nothing = f"{client_id.hex}@closed.invalid"  # cut to the column's length
    return tuple(
        name
        for name in ("email", "phone", "name")
        if isinstance(value := fields.get(name), str)
        and value.strip()
        and not nothing.startswith(value)
    )


def _user(raw: object) -> User | None:
    if not isinstance(raw, Mapping):
        return None
    fields = cast("Mapping[str, object]", raw)
    metadata = fields.get("metadata")
    details: Mapping[str, object] = (
        cast("Mapping[str, object]", metadata) if isinstance(metadata, Mapping) else {}
    )
    confirmed: list[Contact] = []
    if fields.get("email_confirmed") is True and fields.get("email_unverified") is not True:
        confirmed.append("email")
    if fields.get("phone_confirmed") is True:
        confirmed.append("phone")
    profile = profile_of(
        {
            "email": fields.get("email"),
            "phone": fields.get("phone"),
            "user_metadata": dict(details),
        },
        confirmed,
    )
    return User(
        profile=profile,
        phone=fields.get("phone"),
        deleted=fields.get("deleted") is True,
        banned_until=parse_time(fields.get("banned_until")),
        anonymous=fields.get("anonymous") is True,
        unusable=_unusable(
            profile, [fields.get("email")], [fields.get("phone"), details.get("phone")]
        ),
    )


def _unusable(
    profile: Profile, emails: Sequence[object], phones: Sequence[object]
) -> tuple[Contact, ...]:
    unusable: list[Contact] = []
    if profile.email is None and any(_is_filled(value) for value in emails):
        unusable.append("email")
    if profile.phone is None and any(_is_filled(value) for value in phones):
        unusable.append("phone")
    return tuple(unusable)


def _is_filled(value: object) -> bool:
    return value is not None and value is not False and bool(str(value).strip())
