"""The Supabase user of one row: created, or looked at once more."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from evpower.client_migration.model import NotMoved, RowWork, Run
from evpower.client_migration.retry_policy import RetryPolicy
from evpower.identity.errors import AuthOutcomeUnknown, AuthRefused
from evpower.identity.model import AuthUser, Confirm, Contact, ImportedUser
from evpower.identity.register import UNVERIFIED
from evpower.identity.supabase_admin import SupabaseAdmin

MARK: Final = "evpower_migration"
_EXISTS: Final = {"email_exists", "phone_exists", "user_already_exists", "conflict"}


@dataclass(frozen=True, slots=True)
class Users:
    """Supabase Auth, for one run."""

    admin: SupabaseAdmin
    run: Run
    marks: Collection[str]  # of every run: who bears one was created by us
    confirm: Confirm
    trusted: Collection[Contact]
    retries: RetryPolicy

    async def create(self, work: RowWork, password_hash: str | None) -> str | None:
        """Create the user, or find the one an earlier try created; answers a note for the row.

        Raises NotMoved, Stopped.
        """
        try:
            await self._import(_new_user(work, password_hash, self.run, self.confirm))
        except AuthRefused as refusal:
            if refusal.code != "validation_failed" or password_hash is None:
                raise _refused(refusal) from refusal
        else:
            return None
        # A hash this Auth can't read: the person sets a new password.
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
            existing = await self.admin.get_user(new_user.id)  # Auth says 500 to a taken id, too
            if existing is None or str(existing.app_metadata.get(MARK)) not in self.marks:
                raise
            if (existing.email, existing.phone) != (new_user.email, new_user.phone):
                raise NotMoved("created_otherwise", str(new_user.id), conflict=True) from error

    async def adopt(self, work: RowWork) -> AuthUser:
        """Look at the user once more: what was proven must be so still.

        Raises NotMoved, Stopped.
        """
        user = await self.retries.call(lambda: self.admin.get_user(work.client_id))
        if user is None:
            raise NotMoved("user_gone", str(work.client_id), conflict=True)
        if work.matched_by in {"id", "decision"}:
            return user
        email = user.email if user.has_verified("email", self.trusted) else None
        phone = user.phone if user.has_verified("phone", self.trusted) else None
        if work.matched_by == "email":
            still, other = email == work.email, _differs(phone, work.phone, work.phone_proof)
        else:
            still, other = phone == work.phone, _differs(email, work.email, work.email_proof)
        if not still:
            raise NotMoved("no_longer_proven", str(work.client_id), conflict=True)
        if other:
            raise NotMoved("contacts_disagree", str(work.client_id), conflict=True)
        return user


def _differs(theirs: str | None, said: str | None, proof: str) -> bool:
    return theirs is not None and said is not None and proof != "no" and theirs != said


def _refused(refusal: AuthRefused) -> NotMoved:
    # Taken since the plan was made, by somebody who may or may not be this client.
    return NotMoved(refusal.code, f"Supabase Auth answered {refusal}")


def _new_user(work: RowWork, password_hash: str | None, run: Run, confirm: Confirm) -> ImportedUser:
    """The user to create: what the old system had confirmed is, what it had not is only said."""
    email_proven, phone_proven = work.email_proof == "yes", work.phone_proof == "yes"
    auto = confirm == "auto"
    mark: dict[str, object] = {MARK: str(run.mark)}
    if work.email is not None and not email_proven and auto:
        mark |= UNVERIFIED
    return ImportedUser(
        id=work.client_id,
        email=work.email,
        email_confirm=email_proven or auto,
        phone=work.phone if phone_proven or work.email is None else None,
        phone_confirm=phone_proven,
        claimed_phone=work.phone,
        name=work.name,
        password_hash=password_hash,
        app_metadata=mark,
    )
