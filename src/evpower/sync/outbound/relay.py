"""The relay sends the outbox to Supabase: hundreds of keys per call, several calls at once."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

import structlog

from evpower.config import Settings
from evpower.foundation import failpoints
from evpower.foundation.backoff import Backoff
from evpower.foundation.bus import Bus
from evpower.foundation.clock import Clock
from evpower.foundation.db import Database
from evpower.foundation.errors import Unavailable
from evpower.foundation.failpoints import Failpoint
from evpower.foundation.loops import AT_ONCE, Loop, Pause, Round
from evpower.sync import metrics
from evpower.sync.errors import SyncError, TargetBusy, TargetRefuses, TargetUnavailable, TooLarge
from evpower.sync.model import (
    PAYMENT_TOPICS,
    SUPABASE_CHANGED,
    ApplyResult,
    Claim,
    DeliveryResult,
    Finish,
    OutboxTopic,
    Outgoing,
)
from evpower.sync.outbound import store
from evpower.sync.outbound.judge import (
    judge,
    lacks_station,
    parse_results,
    parse_tables,
    refused_for_contact,
)
from evpower.sync.outbound.old_tables import OldTables
from evpower.sync.outbound.store_first import (
    enqueue_clients_of,
    enqueue_closed_holders,
    enqueue_needs_of,
    enqueue_stations_of,
)
from evpower.sync.supabase_job import SupabaseJob
from evpower.sync.supabase_rpc import Rpc

_APPLY: Final = "evpower_apply"
_PROBE_KEYS: Final = 20
_LINGER_S: Final = 0.01  # so that changes of the same moment share a call
_RETRY: Final = Backoff(0.2, 30.0)  # of a key
_FINISH: Final = Backoff(0.005, 1.0)  # while a request holds the row of a key
_log = structlog.get_logger()


class Relay(SupabaseJob):
    """Any number of relays may run in any number of processes; a key is in one call at a time."""

    _target = "supabase"

    def __init__(
        self,
        db: Database,
        rpc: Rpc,
        settings: Settings,
        clock: Clock,
        bus: Bus | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        super().__init__(db, rpc, settings, clock, bus, jitter)
        self._calls: set[asyncio.Task[DeliveryResult]] = set()
        self._idle = Backoff(_LINGER_S, settings.relay_poll_s)
        self._idle_rounds = 0  # in a row
        self._old_tables = OldTables(db)
        # Both shrink when a gateway refuses a call as too large.
        self._budget = settings.relay_transactions
        self._batch = settings.relay_batch
        self._share = 1.0  # of both: smaller while calls exceed the statement time-out

    def loop(self) -> Loop:
        """Returns the loop that sends; at its end running calls finish and no lease is left."""
        return Loop(
            "relay",
            self._round,
            period_s=self._settings.relay_poll_s,
            wakeup=self._wakeup,
            around=self._subscribed,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Sends until `stop` is set."""
        await self.loop().run(stop)

    @asynccontextmanager
    async def _subscribed(self) -> AsyncGenerator[None]:
        # The puller handles changes in Supabase.
        async with self._woken_by(lambda topic: topic != SUPABASE_CHANGED):
            try:
                yield
            finally:
                await self._finish_calls()

    async def run_once(self) -> DeliveryResult:
        """Sends one call; none when nothing is due or the breaker is open."""
        self._send(await self._claim())
        return await self._finish_calls()

    async def drain(self) -> DeliveryResult:
        """Sends until nothing is due or Supabase fails. Returns the sum of the calls."""
        total = DeliveryResult()
        try:
            while True:
                total += self._reap()
                claims: list[Claim] = []
                if len(self._calls) < self._settings.relay_in_flight:
                    claims = await self._claim()
                if claims:
                    self._send(claims)
                    await asyncio.sleep(0)
                elif not self._calls or self._breaker.open:
                    break
                else:
                    await asyncio.wait(self._calls, return_when=asyncio.FIRST_COMPLETED)
        finally:
            total += await self._finish_calls()
        return total

    async def _round(self, current: Round) -> Pause:
        """Claims the keys of one call and sends it beside the calls under way."""
        self._reap()
        if len(self._calls) >= self._settings.relay_in_flight:
            await current.first_of(self._calls)
            return AT_ONCE
        claims = await self._claim()
        if self._state in {"down", "misconfigured"}:
            current.failed(f"supabase_{self._state}")
        if claims:
            self._send(claims)
            self._idle_rounds = 0
            return Pause(0 if len(claims) >= _PROBE_KEYS else _LINGER_S, wakeable=False)
        await self._store_state()
        self._idle_rounds += 1
        return Pause(max(self._idle.pause_s(self._idle_rounds), self._breaker.wait_s()))

    def _sized(self, most: int) -> int:
        return max(1, int(most * self._share))

    def _send(self, claims: Sequence[Claim]) -> None:
        if batched := [claim for claim in claims if not claim.alone]:
            self._calls.add(asyncio.create_task(self._deliver(batched)))
        if alone := [claim for claim in claims if claim.alone]:
            self._calls.add(asyncio.create_task(self._deliver_singly(alone)))

    async def _deliver_singly(self, claims: Sequence[Claim]) -> DeliveryResult:
        """Sends one call per claim, one after the other, so that a lock delays only its own key."""
        total = DeliveryResult()
        for claim in claims:
            total += await self._deliver([claim])
        return total

    def _reap(self) -> DeliveryResult:
        finished = {task for task in self._calls if task.done()}
        self._calls -= finished
        return sum((task.result() for task in finished), DeliveryResult())

    async def _finish_calls(self) -> DeliveryResult:
        calls, self._calls = self._calls, set()
        results = await asyncio.gather(*calls, return_exceptions=True)
        total = DeliveryResult()
        for result in results:
            if isinstance(result, BaseException):
                raise result
            total += result
        return total

    async def _claim(self) -> list[Claim]:
        was_open = self._breaker.open
        if not self._breaker.allows():
            return []
        claims: list[Claim] = []
        try:
            async with self._db.connection() as connection:
                claims = await store.claim(
                    connection,
                    keys=_PROBE_KEYS if was_open else self._sized(self._batch),
                    transactions=_PROBE_KEYS if was_open else self._sized(self._budget),
                    lease_s=self._settings.relay_lease_s,
                )
        finally:
            if not claims:
                self._breaker.unused()
        if claims:
            failpoints.hit(Failpoint.RELAY_CLAIMED)
        return claims

    async def _deliver(self, claims: Sequence[Claim]) -> DeliveryResult:
        """Reads, sends, finishes. Never raises for a failure of Supabase or of our database."""
        try:
            return await self._send_batch(claims)
        except Unavailable as error:  # the leases expire
            self._breaker.unused()
            _log.warning("relay_database_lost", error=error.for_operators)
            return DeliveryResult(calls=1, retried=len(claims))

    async def _send_batch(self, claims: Sequence[Claim]) -> DeliveryResult:
        async with self._db.connection() as connection:
            outgoing = await store.read(connection, claims, chunk=self._budget, now=self._clock())
        failpoints.hit(Failpoint.RELAY_READ)
        started = time.perf_counter()
        try:
            response = await self._rpc.call(_APPLY, outgoing.body())
            results = parse_results(response)
            failpoints.hit(Failpoint.RELAY_APPLIED)
        except TooLarge as error:
            self._breaker.unused()
            self._budget = max(1, min(self._budget, outgoing.transaction_count) // 2)
            self._batch = max(1, min(self._batch, len(claims)) // 2)
            return await self._postpone(claims, error, "too_large")
        except TargetRefuses as error:
            self._breaker.failed()
            await self._set_state("misconfigured", str(error))
            return await self._postpone(claims, error, "misconfigured")
        except TargetBusy as error:  # concerns this call alone: Supabase is up
            self._breaker.succeeded()
            self._share = max(1 / self._batch, self._share / 2)
            return await self._postpone(claims, error, "busy")
        except TargetUnavailable as error:
            self._breaker.failed()
            await self._set_state("down", str(error))
            return await self._postpone(claims, error, "unavailable")
        took_ms = int((time.perf_counter() - started) * 1000)
        recovered = self._breaker.open
        self._breaker.succeeded()
        self._share = min(1.0, self._share * 2)
        await self._set_state("up", None)
        waiting_for_needed = await self._send_what_orphans_need(
            [result for result in results.values() if result.outcome == "orphan"]
        )
        waiting_for_contact = await self._send_closed_holders(claims, results)
        ends = [
            judge(
                claim,
                results.get((claim.topic, claim.key)),
                outgoing.parts.get(claim.key) if claim.topic == "client" else None,
                waits_for_needed=claim.key in waiting_for_needed,
                waits_for_contact=claim.key in waiting_for_contact,
                delay_s=self._delay_s(claim),
            )
            for claim in claims
        ]
        if gaps := sum(result.outcome == "gap" for result in results.values()):
            _log.warning("transaction_gap_detected", clients=gaps)
        await self._finish(ends)
        await self._old_tables.follow(parse_tables(response))
        return await self._record(ends, outgoing, results, took_ms, recovered=recovered)

    async def _record(
        self,
        ends: Sequence[Finish],
        outgoing: Outgoing,
        results: Mapping[tuple[OutboxTopic, UUID], ApplyResult],
        took_ms: int,
        *,
        recovered: bool,
    ) -> DeliveryResult:
        sent = [end.claim for end in ends if end.verdict == "sent"]
        async with self._db.connection() as connection:
            if recovered:
                await store.release_waiting(connection)
            if sent:
                lags = await store.record_call(
                    connection, sent, outgoing.transaction_count, took_ms
                )
                for lag_ms in lags:
                    metrics.LAG_SECONDS.observe(lag_ms / 1000)
        metrics.CALLS.labels("ok").inc()
        metrics.TRANSACTIONS.inc(outgoing.transaction_count)
        for result in results.values():
            metrics.KEYS.labels(result.topic, result.outcome).inc()
        outcomes = [result.outcome for result in results.values()]
        return DeliveryResult(
            keys=len(sent),
            transactions=outgoing.transaction_count,
            applied=outcomes.count("applied"),
            stale=outcomes.count("stale"),
            refused=sum(end.verdict == "park" for end in ends),
            retried=sum(end.verdict in {"retry", "alone", "more", "force"} for end in ends),
            calls=1,
        )

    async def _send_what_orphans_need(self, orphans: Sequence[ApplyResult]) -> set[UUID]:
        """Enqueues what sessions and payments name. Returns those that wait in vain."""
        payments = [result.key for result in orphans if result.topic in PAYMENT_TOPICS]
        without_station = [result.key for result in orphans if lacks_station(result)]
        sessions = [
            result.key
            for result in orphans
            if result.topic == "session" and not lacks_station(result)
        ]
        waiting: set[UUID] = set()
        if sessions:
            async with self._db.transaction() as connection:
                waiting |= await enqueue_clients_of(connection, sessions)
        if without_station:
            async with self._db.transaction() as connection:
                waiting |= await enqueue_stations_of(connection, without_station)
        if payments:
            async with self._db.transaction() as connection:
                waiting |= await enqueue_needs_of(connection, payments)
        return waiting

    async def _send_closed_holders(
        self, claims: Sequence[Claim], results: Mapping[tuple[OutboxTopic, UUID], ApplyResult]
    ) -> set[UUID]:
        """Enqueues closed clients that have a refused client's contact. Returns the refused."""
        refused = refused_for_contact(claims, results)
        if not refused:
            return set()
        async with self._db.transaction() as connection:
            return await enqueue_closed_holders(connection, refused)

    async def _postpone(
        self, claims: Sequence[Claim], error: SyncError, outcome: str
    ) -> DeliveryResult:
        """The call failed: delays its keys, each longer than last time."""
        metrics.CALLS.labels(outcome).inc()
        reason = str(error)[:300]
        await self._finish(
            [Finish(claim, "retry", reason, self._delay_s(claim)) for claim in claims]
        )
        return DeliveryResult(retried=len(claims), calls=1)

    async def _finish(self, ends: Sequence[Finish]) -> None:
        """Ends the claims. A key locked by a request is tried again, then left to its lease."""
        remaining = list(ends)
        for attempt in range(1, 9):
            async with self._db.transaction() as connection:
                remaining = await store.finish(connection, remaining)
                failpoints.hit(Failpoint.RELAY_UNCOMMITTED)
            failpoints.hit(Failpoint.RELAY_ACKNOWLEDGED)
            if not remaining:
                return
            await asyncio.sleep(_FINISH.pause_s(attempt))

    def _delay_s(self, claim: Claim) -> float:
        return _RETRY.pause_s(claim.attempts + 1, self._jitter)

    async def _set_state(self, state: str, error: str | None) -> None:
        metrics.TARGET_UP.set(state == "up")
        if self._saw(state, error):
            if state == "misconfigured":
                _log.error("relay_request_refused", error=error)
            else:
                _log.info("relay_state_changed", state=state, error=error)
        await self._store_state()
