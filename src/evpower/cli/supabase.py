"""`evpower supabase`: how Supabase notifies EvPower of changes, and who may write there."""

import json
from dataclasses import asdict
from datetime import timedelta
from urllib.parse import urlsplit

import typer

from evpower import sync as synced
from evpower.cli.finding import Finding
from evpower.cli.out import console, fail, styled
from evpower.cli.remote import with_supabase
from evpower.cli.settings import load_checked
from evpower.cli.supabase_guard import guard
from evpower.config import Settings
from evpower.foundation.db import Database

supabase = typer.Typer(help="What Supabase tells EvPower, and how.", no_args_is_help=True)
secret = typer.Typer(help="The secret Supabase signs with.", no_args_is_help=True)
webhook = typer.Typer(help="The call Supabase makes on each change.", no_args_is_help=True)
supabase.add_typer(secret, name="secret")
supabase.add_typer(webhook, name="webhook")
supabase.add_typer(guard, name="guard")
_JSON = typer.Option(False, "--json", help="One JSON line.")


@secret.command()
def rotate(
    url: str = typer.Option(
        "", "--url", help=f"Where Supabase calls; EVPOWER_PUBLIC_URL + {synced.WEBHOOK_PATH}."
    ),
    grace: float = typer.Option(
        24, "--grace", min=0, max=720, help="Hours the secrets so far stay good."
    ),
    as_json: bool = _JSON,
) -> None:
    """Make a new secret known here, then to Supabase; also switches the webhook on."""
    target = webhook_url(load_checked(), url)

    async def work(database: Database, rpc: synced.SupabaseRpc) -> synced.RotationResult:
        return await synced.rotate_secret(database, rpc, target, grace=timedelta(hours=grace))

    done = with_supabase(work)
    if as_json:
        typer.echo(json.dumps({"url": target, **asdict(done)}))
        return
    console.print(f"Supabase calls {target} and signs with a new secret")
    console.print(f"the secret is stored in its {_place(done.stored_in)}")
    if done.retired:
        good = f"stay good for at most {grace:g} h" if grace else "are not accepted any more"
        console.print(f"{done.retired} older ones {good}")
    if not done.pg_net:
        console.print(styled((_NO_PG_NET, "yellow")))


@webhook.command()
def off() -> None:
    """Let Supabase call no more; changes still arrive, every few seconds."""

    async def work(_: Database, rpc: synced.SupabaseRpc) -> None:
        await synced.disable_webhook(rpc)

    with_supabase(work)
    console.print("Supabase calls no more; `evpower supabase secret rotate` switches it on again")


@supabase.command()
def status(
    as_json: bool = _JSON,
    read_only: bool = typer.Option(False, "--read-only", help="Send no change notification."),
) -> None:
    """Show what is configured and what waits, and send one change notification.

    Exit 1 when notifications are configured and do not arrive.
    """
    from evpower.cli.doctor_notification import send_one

    settings = load_checked()

    async def work(
        database: Database, rpc: synced.SupabaseRpc
    ) -> tuple[synced.WebhookStatus, Finding | None]:
        now = await synced.webhook_status(
            database, rpc, settings.supabase_webhook_secrets.get_secret_value()
        )
        if what_is_wrong(now) or now.url is None or read_only:
            return now, None
        return now, await send_one(rpc, now.url)

    now, sent = with_supabase(work)
    wrong, fix = what_is_wrong(now), "evpower supabase secret rotate"
    if sent is not None and sent.ok is False:
        wrong, fix = sent.detail, sent.fix
    if as_json:
        ends = now.ends_at.isoformat() if now.ends_at else None
        arrived = None if sent is None else sent.ok
        row = {**asdict(now), "ends_at": ends, "arrived": arrived, "wrong": wrong}
        typer.echo(json.dumps(row))
    else:
        _tell(now)
        if sent is not None:
            console.print(f"test call  {sent.detail}")
    if wrong:
        fail(wrong, fix)


def describe(now: synced.WebhookStatus) -> str:
    """Returns the state of the webhook in one line."""
    return what_is_wrong(now) or (f"Supabase calls {now.url}" if now.url else _OFF)


def webhook_url(settings: Settings, given: str) -> str:
    """Returns the full address; ends the command if there is none or it is not safe."""
    base = given or settings.public_url
    if not base:
        fail("where Supabase shall call is not known", "--url, or set EVPOWER_PUBLIC_URL")
    parts = urlsplit(base)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        fail(f"{base!r} is no address", "https://api.example.kg")
    if parts.scheme == "http" and settings.env == "production":
        fail(f"{base} is not https", "Supabase calls over the internet")
    return base if parts.path.strip("/") else base.rstrip("/") + synced.WEBHOOK_PATH


def what_is_wrong(now: synced.WebhookStatus) -> str:
    """Returns why a configured webhook can't arrive; "" if it can, or none is configured."""
    if now.url is None:
        return ""
    if not now.pg_net:
        return _NO_PG_NET
    if now.same is None:
        return "Supabase has lost its secret: it does not call"
    return "" if now.same else "Supabase signs with a secret that EvPower does not accept"


def _tell(now: synced.WebhookStatus) -> None:
    console.print(f"webhook    {now.url or _OFF}")
    console.print(f"pg_net     {'there' if now.pg_net else 'missing'}")
    agreed = {
        None: "none",
        True: "the same on both sides",
        False: ("another than ours", "red"),
    }
    place = f", in Supabase's {_place(now.stored_in)}" if now.stored_in else ""
    until = f", ends {now.ends_at:%Y-%m-%d %H:%M}Z" if now.ends_at else ""
    console.print(styled("secret     ", agreed[now.same], f"{place}{until}"))
    blocked = f", {now.blocked} blocked by a transaction that runs there" if now.blocked else ""
    since = f", the oldest of {now.oldest}" if now.oldest else ""
    console.print(f"changes    {now.changes} waiting{since}{blocked}")
    cursor = f"xid {now.cursor[0]}, seq {now.cursor[1]}" if now.cursor else "none yet"
    console.print(f"cursor     {cursor}")


def _place(stored_in: str) -> str:
    return "Vault" if stored_in == "vault" else "table evpower.secrets"


_OFF = "off: changes arrive every few seconds"
_NO_PG_NET = (
    "pg_net is not installed in Supabase: it can't call, changes arrive every few seconds; "
    "switch it on under Database > Extensions"
)
