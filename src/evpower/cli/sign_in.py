"""`evpower sign-in` and `evpower sign-in-keys`: whose a phone is, and what signs access tokens."""

import getpass
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import typer

from evpower import identity
from evpower.cli.notify import notify
from evpower.cli.out import console, counted, fail
from evpower.cli.settings import load_checked, outgoing_http, with_database
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Database

sign_in = typer.Typer(
    help="Sign-in by phone: phones that wait for a decision.", no_args_is_help=True
)
keys = typer.Typer(help="The keys that sign EvPower's access tokens.", no_args_is_help=True)
_JSON = typer.Option(False, "--json", help="One JSON line.")
_REASON = typer.Option(..., "--reason", help="Why, for the audit.")
_OPERATOR = typer.Option("", "--operator", help="Who does this; the login name by default.")


@sign_in.command("reviews")
def reviews(as_json: bool = _JSON) -> None:
    """Show the phones that signed in and have no account until an operator decides."""

    async def work(database: Database) -> Sequence[identity.PhoneReview]:
        async with database.connection() as connection:
            return await identity.list_reviews(connection)

    waiting = with_database(work)
    if as_json:
        typer.echo(json.dumps([_review_row(review) for review in waiting]))
        return
    for review in waiting:
        claimants = ", ".join(str(claimant) for claimant in review.claimants) or "no client"
        console.print(
            f"{review.phone}  {review.reason}  since {review.opened_at:%Y-%m-%d %H:%M}Z, "
            f"{counted(review.tries, 'try') if review.tries == 1 else f'{review.tries} tries'}"
            f"  claimed by {claimants}"
        )
    if not waiting:
        console.print("no phone waits for a decision")


@sign_in.command("decide")
def decide(
    phone: str,
    owner: UUID | None = typer.Option(None, "--owner", help="The client whose phone it is."),
    new_account: bool = typer.Option(False, "--new-account", help="It is none of theirs."),
    reason: str = _REASON,
    operator: str = _OPERATOR,
) -> None:
    """Decide whose a phone is; the next sign-in with it follows."""
    if (owner is None) == (not new_account):
        fail("say whose the phone is", "--owner CLIENT, or --new-account")
    if not reason.strip():
        fail("a reason is needed", 'for example --reason "showed the receipts"')
    settings = load_checked()

    async def work(database: Database) -> None:
        async with outgoing_http(settings) as http:
            admin = identity.SupabaseAdmin(
                http=http,
                url=settings.supabase_url,
                secret_key=settings.supabase_secret_key,
                publishable_key=settings.supabase_publishable_key,
            )
            await identity.decide_review(
                database,
                admin,
                phone,
                owner_id=owner,
                actor=operator or getpass.getuser(),
                reason=reason.strip(),
                clock=utc_now,
            )

    with_database(work)
    if owner is not None:
        notify(owner)
    console.print(f"{phone} is {owner}'s" if owner else f"{phone} gets a new account")


@keys.command("list")
def list_keys(as_json: bool = _JSON) -> None:
    """Show the keys, the one that signs first; with --json their public halves too."""

    async def work(database: Database) -> Sequence[identity.OwnKey]:
        async with database.connection() as connection:
            return await identity.list_signing_keys(connection)

    stored = with_database(work)
    if as_json:
        typer.echo(json.dumps([_key_row(key) for key in stored]))
        return
    signing = next((key.kid for key in stored if key.revoked_at is None), None)
    for key in stored:
        age_days = (datetime.now(UTC) - key.created_at).days
        state = "revoked" if key.revoked_at else "signs" if key.kid == signing else "replaced"
        console.print(f"{key.kid}  {state:8}  {counted(age_days, 'day')} old")
    if not stored:
        console.print("no key yet: the first sign-in makes one")


@keys.command("rotate")
def rotate(
    revoke_older: bool = typer.Option(
        False, "--revoke-older", help="After a leak: refuse the tokens of all older keys."
    ),
    reason: str = typer.Option("", "--reason", help="Why, for the audit."),
    operator: str = _OPERATOR,
) -> None:
    """Make the key that signs from now on; older ones verify for an hour more."""
    settings = load_checked()
    secret = settings.sign_in_secret.get_secret_value()
    if not secret:
        fail("EVPOWER_SIGN_IN_SECRET is not set", "sign-in by phone: docs/phone-sign-in.md")

    async def work(database: Database) -> identity.OwnKey:
        async with database.transaction() as connection:
            return await identity.rotate_signing_key(
                connection,
                secret,
                actor=operator or getpass.getuser(),
                now=utc_now(),
                revoke_older=revoke_older,
                reason=reason.strip(),
            )

    console.print(f"{with_database(work).kid} signs from now on")


def _review_row(review: identity.PhoneReview) -> dict[str, object]:
    return {
        "phone": review.phone,
        "reason": review.reason,
        "claimants": [str(claimant) for claimant in review.claimants],
        "opened_at": review.opened_at.isoformat(),
        "last_at": review.last_at.isoformat(),
        "tries": review.tries,
    }


def _key_row(key: identity.OwnKey) -> dict[str, object]:
    return {
        "kid": key.kid,
        "created_at": key.created_at.isoformat(),
        "revoked_at": key.revoked_at.isoformat() if key.revoked_at else None,
        "public": identity.public_jwk(key),
    }
