"""Creates the Supabase user of a row, or checks an existing one again."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from evpower.client_migration.model import NotMoved, RowWork, Run
from evpower.client_migration.retry_policy import RetryPolicy
from evpower.identity import (
    UNVERIFIED,
    AuthOutcomeUnknown,
    AuthRefused,
    AuthUser,
    Confirm,
    Contact,
    ImportedUser,
    SupabaseAdmin,
)

RUN_KEY: Final = "evpower_migration"
_EXISTS: Final = {"email_exists", "phone_exists", "user_already_exists", "conflict"}


@dataclass(frozen=True, slots=True)
class Users:
    """Supabase Auth, for one run."""

    admin: SupabaseAdmin
    run: Run
    run_keys: Collection[str]  # of every run: a user with one was created by a run
    confirm: Confirm
    trusted: Collection[Contact]
    retries: RetryPolicy

    async def create(self, work: RowWork, password_hash: str | None) -> str | None:
        """Creates the user, or finds the one of an earlier attempt. Returns a note for the row.

        Raises NotMoved, RunStopped.
        """
        try:
            await self._import(_new_user(work, password_hash, self.run, self.confirm))
        except AuthRefused as refusal:
            if refusal.code != "validation_failed" or password_hash is None:
                raise _refused(refusal) from refusal
        else:
            return None
        # Auth can't read this hash: the user must set a new password.
        try:
            await self._import(_new_user(work, None, self.run, self.confirm))
        except AuthRefused as refusal:
            raise _refused(refusal) from refusal
        return "password_to_be_reset"

    async def _import(self, new_user: ImportedUser) -> None:
        await self.retries.call(lambda: self._import_once(new_user))

    async def _import_once(self, new_user: ImportedUser) -> None:
        try:
            await self.admin.import_user(new_user)
        except (AuthRefused, AuthOutcomeUnknown) as error:
            if isinstance(error, AuthRefused) and error.code not in _EXISTS:
                raise
            # Auth also returns 500 when the id exists.
            existing = await self.admin.get_user(new_user.id)
            if existing is None or str(existing.app_metadata.get(RUN_KEY)) not in self.run_keys:
                raise
            if (existing.email, existing.phone) != (new_user.email, new_user.phone):
                raise NotMoved("created_otherwise", str(new_user.id), conflict=True) from error

    async def matched_user(self, work: RowWork) -> AuthUser:
        """Reads the user again: the contact it was matched by must still be verified.

        Raises NotMoved, RunStopped.
        """
        user = await self.retries.call(lambda: self.admin.get_user(work.client_id))
        if user is None:
            raise NotMoved("user_gone", str(work.client_id), conflict=True)
        if work.matched_by in {"id", "decision"}:
            return user
        email = user.email if user.has_verified("email", self.trusted) else None
        phone = user.phone if user.has_verified("phone", self.trusted) else None
        if work.matched_by == "email":
            still_verified, other_differs = (
                email == work.email,
                _differs(phone, work.phone, work.phone_confirmed),
            )
        else:
            still_verified, other_differs = (
                phone == work.phone,
                _differs(email, work.email, work.email_confirmed),
            )
        if not still_verified:
            raise NotMoved("no_longer_verified", str(work.client_id), conflict=True)
        if other_differs:
            raise NotMoved("contacts_disagree", str(work.client_id), conflict=True)
        return user


def _differs(theirs: str | None, in_source: str | None, confirmed: str) -> bool:
    return (
        theirs is not None and in_source is not None and confirmed != "no" and theirs != in_source
    )


def _refused(refusal: AuthRefused) -> NotMoved:
    # The contact got a user since the plan was made, who may or may not be this client.
    return NotMoved(refusal.code, f"Supabase Auth returned {refusal}")


def _new_user(work: RowWork, password_hash: str | None, run: Run, confirm: Confirm) -> ImportedUser:
    """Returns the user to create; only contacts that the old system had confirmed are confirmed."""
    email_is_confirmed, phone_is_confirmed = (
        work.email_confirmed == "yes",
        work.phone_confirmed == "yes",
    )
    auto = confirm == "auto"
    app_metadata: dict[str, object] = {RUN_KEY: str(run.run_key)}
    if work.email is not None and not email_is_confirmed and auto:
        app_metadata |= UNVERIFIED
    return ImportedUser(
        id=work.client_id,
        email=work.email,
        email_confirm=email_is_confirmed or auto,
        phone=work.phone if phone_is_confirmed or work.email is None else None,
        phone_confirm=phone_is_confirmed,
        claimed_phone=work.phone,
        name=work.name,
        password_hash=password_hash,
        app_metadata=app_metadata,
    )
