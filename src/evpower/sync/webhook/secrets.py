"""The secret that signs change notifications: rotation, and whether both sides hold the same."""

import asyncio
import base64
import hashlib
import json
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, cast

from evpower.foundation.db import Database
from evpower.sync.errors import TargetRefuses, TargetUnavailable
from evpower.sync.inbound import store_changes
from evpower.sync.supabase_rpc import Rpc
from evpower.sync.webhook import store_inbox, store_secrets
from evpower.sync.webhook.signatures import parse_secrets

WEBHOOK_PATH: Final = "/api/v1/webhooks/supabase"
GRACE: Final = timedelta(hours=24)
_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class RotationResult:
    """What a rotation did: `retired` older secrets end after the grace period.

    `stored_in` is where Supabase stores the secret.
    """

    pg_net: bool
    stored_in: str
    retired: int


@dataclass(frozen=True, slots=True)
class WebhookStatus:
    """The webhook as Supabase has it, and whether EvPower has the same secret.

    `same`: both sides hold the secret Supabase signs with (None: Supabase has none), until
    `ends_at` if that is set. `changes` wait in Supabase's log, the `oldest` since that time;
    `blocked` of them wait for a transaction that still runs there. `cursor` is the last one
    applied: (xid, seq).
    """

    pg_net: bool
    url: str | None
    stored_in: str | None
    same: bool | None
    ends_at: datetime | None
    changes: int
    oldest: str | None
    blocked: int
    cursor: tuple[str, int] | None


async def rotate_secret(
    db: Database,
    rpc: Rpc,
    url: str,
    *,
    grace: timedelta = GRACE,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> RotationResult:
    """Stores a new secret here, then in Supabase, which calls `url`; older ones end after `grace`.

    Rotations run one at a time: otherwise one could retire the secret that the other gave Supabase.
    Raises TargetRefuses, TargetUnavailable (Supabase may or may not sign with the new secret then:
    all earlier secrets stay valid, and repeating the rotation is harmless).
    """
    secret = _text_of(random_bytes(_BYTES))
    async with store_secrets.rotation_lock(db, pause):
        async with db.transaction() as connection:
            secret_id = await store_secrets.add(connection, secret)
        try:
            facts = await call_function(
                rpc, "evpower_webhook_configure", {"url": url, "secret": secret}
            )
        except TargetRefuses:
            async with db.transaction() as connection:
                await store_secrets.remove(connection, secret_id)
            raise
        async with db.transaction() as connection:
            retired = await store_secrets.retire_before(connection, secret_id, grace)
    return RotationResult(bool(facts.get("pg_net")), str(facts.get("kept_in")), retired)


async def disable_webhook(rpc: Rpc) -> None:
    """Stops Supabase from calling the webhook; the puller still polls every few seconds."""
    await call_function(rpc, "evpower_webhook_configure", {"url": None})


async def webhook_status(db: Database, rpc: Rpc, configured_secrets: str = "") -> WebhookStatus:
    """Returns the state of both sides; `configured_secrets` are those of the settings."""
    async with db.connection() as connection:
        stored = await store_inbox.secrets(connection)
        cursor = await store_changes.cursor(connection)
    accepted = {_digest(key): end for _, text, end in stored for key in parse_secrets(text)}
    accepted |= {_digest(key): None for key in parse_secrets(configured_secrets)}
    after = {"xid": cursor.xid, "seq": cursor.seq} if cursor.xid is not None else None
    facts = await call_function(rpc, "evpower_webhook_status", {"after": after})
    digest = facts.get("secret_sha256")
    return WebhookStatus(
        pg_net=bool(facts.get("pg_net")),
        url=_text(facts.get("url")),
        stored_in=_text(facts.get("kept_in")),
        same=None if digest is None else digest in accepted,
        ends_at=accepted.get(str(digest)),
        changes=_count(facts.get("changes")),
        oldest=_text(facts.get("oldest")),
        blocked=_count(facts.get("held_back")),
        cursor=(cursor.xid, cursor.seq) if cursor.xid is not None and cursor.seq else None,
    )


async def call_function(
    rpc: Rpc, function: str, payload: Mapping[str, object]
) -> Mapping[str, object]:
    """Returns the JSON object a function of the project returns. Raises SyncError."""
    result = await rpc.call(function, json.dumps({"payload": payload}).encode())
    if not isinstance(result, Mapping):
        raise TargetUnavailable(f"{function}: the response is no object")
    return cast("Mapping[str, object]", result)


def _digest(key: bytes) -> str:
    """Returns the digest by which Supabase names its secret: of the text, in its normal form."""
    return hashlib.sha256(_text_of(key).encode()).hexdigest()


def _text_of(key: bytes) -> str:
    return "whsec_" + base64.b64encode(key).decode()


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _count(value: object) -> int:
    return int(value) if isinstance(value, int | str) else 0
