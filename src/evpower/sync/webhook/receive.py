"""Receives change notifications: verifies, stores, publishes; the puller reads the change."""

import hashlib
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, cast
from uuid import UUID

import structlog
from starlette.datastructures import Headers

from evpower.foundation import failpoints
from evpower.foundation.batching import Batcher, is_database_down
from evpower.foundation.bus import Bus
from evpower.foundation.clock import Clock, utc_now
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import EvPowerError, Invalid, Unavailable
from evpower.foundation.failpoints import Failpoint
from evpower.foundation.json_reader import NotAnObject, NotJson, read_exact_object
from evpower.foundation.logging import RateLimitedLogger
from evpower.foundation.loops import Round
from evpower.foundation.purge import purge
from evpower.sync import metrics
from evpower.sync.model import SUPABASE_CHANGED
from evpower.sync.webhook import store_inbox
from evpower.sync.webhook.model_inbox import ChangeNotification, InboxOutcome, NotificationSource
from evpower.sync.webhook.signatures import (
    SignatureClaim,
    SignatureRefused,
    is_authentic,
    read_claim,
)
from evpower.sync.webhook.signing_secrets import WebhookSecrets

RETENTION: Final = timedelta(days=30)
_MAX_ROWS: Final = 1_000_000
_EVERYTHING: Final = UUID(int=0)
_WATCHED: Final = {"clients": "public", "users": "auth"}
_CHANGES: Final = frozenset({"insert", "update", "delete"})
_MAX_ROW_ID: Final = 100
# Members of Auth hooks that expect work or a decision from the called side; a 200 would confirm it.
_EXPECTS_A_RESPONSE: Final = frozenset({"email_data", "sms", "claims", "factor_id", "valid"})
_HOOK_NAME: Final = re.compile(r"[a-z0-9_-]{1,60}")
_log = structlog.get_logger()


class SupabaseWebhooks:
    """Receives the calls of one process; events that arrive together share one statement."""

    def __init__(
        self,
        db: Database,
        bus: Bus,
        configured_secrets: str = "",
        *,
        clock: Clock = utc_now,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises ValueError when `configured_secrets` has an invalid secret."""
        self._db = db
        self._bus = bus
        self._clock = clock
        self._secrets = WebhookSecrets(db, configured_secrets, clock, now_s)
        self._store = Batcher(
            self._store_batch, is_fatal=is_database_down, repeat=_duplicate_outcome
        )
        self._refusals = RateLimitedLogger(_log, now_s)

    async def receive(self, headers: Headers, read_body: Callable[[], Awaitable[bytes]]) -> bool:
        """Returns true when the call is new, false when it is a repeat or of another table.

        A repeat is published too: the first may have been lost, and publications are merged. Raises
        Unauthenticated("invalid_signature"), Invalid("invalid_webhook"), Unavailable.
        """
        form = "none"
        try:
            claim = read_claim(headers, self._clock())
            form = claim.form
            raw = await read_body()
            await self._verify(claim, raw)
            failpoints.hit(Failpoint.NOTIFICATION_VERIFIED)
            outcome = await self._record(_describe(claim, raw))
        except EvPowerError as error:
            reason = error.reason if isinstance(error, SignatureRefused) else error.code
            metrics.WEBHOOKS.labels(form, reason).inc()
            self._refusals.warning("supabase_webhook_refused", form=form, reason=reason)
            raise
        metrics.WEBHOOKS.labels(form, outcome).inc()
        return outcome == "accepted"

    async def purge(self, current: Round | None = None) -> int:
        """Deletes events older than a month, and the oldest beyond a million. Returns how many."""

        async def delete(connection: Connection, at_most: int) -> int:
            return await store_inbox.purge(
                connection,
                received_before=self._clock() - RETENTION,
                keep_newest=_MAX_ROWS,
                at_most=at_most,
            )

        return await purge(self._db, delete, current)

    async def close(self) -> None:
        """Stops accepting calls and finishes those under way."""
        await self._store.close()

    async def _verify(self, claim: SignatureClaim, raw: bytes) -> None:
        keys = await self._secrets.current()
        if is_authentic(claim, keys, raw):
            return
        newer = await self._secrets.newer_than(keys)
        if is_authentic(claim, newer, raw):
            return
        if not self._secrets.known:
            raise Unavailable("database_unavailable", "the secrets can't be read", retry_after_s=2)
        raise SignatureRefused("forged" if keys or newer else "no_secret")

    async def _record(self, notification: ChangeNotification | None) -> str:
        if notification is None:
            return "ignored"
        outcome = await self._store(notification)
        failpoints.hit(Failpoint.NOTIFICATION_STORED)
        if outcome == "reused":
            _log.warning(
                "supabase_webhook_id_reused",
                source=notification.source,
                event_id=notification.event_id,
            )
        else:
            self._bus.publish(SUPABASE_CHANGED, _EVERYTHING)
        return outcome

    async def _store_batch(
        self, notifications: Sequence[ChangeNotification]
    ) -> Mapping[ChangeNotification, InboxOutcome | Exception]:
        async with self._db.connection() as connection:
            outcomes = await store_inbox.insert_events(connection, notifications)
        return dict(zip(notifications, outcomes, strict=True))


def _describe(claim: SignatureClaim, raw: bytes) -> ChangeNotification | None:
    """Returns what an authentic body is about; None: of another table. Raises Invalid."""
    body = _object(raw)
    digest = hashlib.sha256(raw)
    source: NotificationSource = "auth"
    event_id = f"sha256:{digest.hexdigest()}"
    if "table" not in body:
        # Supabase Auth makes a new id for each attempt of the same call, so the body identifies it.
        kind = _hook(body)
        row_id = _row_id(body.get("user")) or _text(body.get("user_id"))
    else:
        kind = _change(body)
        row_id = _row_id(body.get("record")) or _row_id(body.get("old_record"))
        source = "plain"  # the same body may be a second change: it is published in any case
        if claim.standard is not None:
            source, event_id = "webhook", claim.standard.message_id
    return (
        None
        if kind is None
        else ChangeNotification(source, event_id, digest.digest(), kind, row_id)
    )


def _object(raw: bytes) -> dict[str, Any]:
    # Numbers stay text: PostgreSQL writes some that no float can hold, and none is used.
    try:
        return read_exact_object(raw, str)
    except NotAnObject as error:
        raise Invalid("invalid_webhook", "the body is not a JSON object") from error
    except NotJson as error:
        raise Invalid("invalid_webhook", "the body is not JSON") from error


def _change(body: Mapping[str, Any]) -> str | None:
    """Returns the change of a Database Webhook ("clients.update"); None for another table."""
    table, schema, change = body["table"], body.get("schema"), body.get("type")
    if not isinstance(table, str) or table not in _WATCHED or not isinstance(change, str):
        return None
    if schema not in (None, _WATCHED[table]) or change.lower() not in _CHANGES:
        return None
    return f"{table}.{change.lower()}"


def _hook(body: Mapping[str, Any]) -> str | None:
    """Returns the name of an Auth hook ("hook.before-user-created"); None: it is no hook."""
    if not any(name in body for name in ("user", "user_id", "metadata")):
        return None
    if _EXPECTS_A_RESPONSE & body.keys():
        raise Invalid("invalid_webhook", "this Auth hook expects a response EvPower can't give")
    name = _mapping(body.get("metadata")).get("name")
    known = isinstance(name, str) and _HOOK_NAME.fullmatch(name)
    return f"hook.{name}" if known else "hook"


def _row_id(record: object) -> str | None:
    return _text(_mapping(record).get("id"))


def _text(value: object) -> str | None:
    """Returns an id as text that a column can hold, so that an operator can search for it."""
    if not isinstance(value, str):
        return None
    return value[:_MAX_ROW_ID].replace("\0", "").encode("utf-8", "replace").decode()


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _duplicate_outcome(first: InboxOutcome) -> InboxOutcome:
    """Returns the outcome of duplicates of an event within one batch."""
    return "repeated" if first == "accepted" else first
