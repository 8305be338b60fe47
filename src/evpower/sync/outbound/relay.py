"""The relay carries what is pending to Supabase: hundreds of keys a call, several at once."""

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
from evpower.foundation.bus import Topic as BusTopic
from evpower.foundation.clock import Clock
from evpower.foundation.db import Database
from evpower.foundation.errors import Unavailable
from evpower.foundation.failpoints import Failpoint
from evpower.foundation.loops import AT_ONCE, Loop, Pause, Round, Wakeup
from evpower.sync import metrics
from evpower.sync.breaker import Breaker
from evpower.sync.errors import SyncError, TargetBusy, TargetRefuses, TargetUnavailable, TooLarge
from evpower.sync.model import (
    SUPABASE_CHANGED,
    Answer,
    Claim,
    Delivered,
    Finish,
    OutboxTopic,
    Outgoing,
)
from evpower.sync.outbound import store
from evpower.sync.outbound.judge import judge, lack_a_contact, parse_answers
from evpower.sync.outbound.store_first import mark_clients_of, mark_closed_holders
from evpower.sync.supabase_rpc import Rpc

_APPLY: Final = "evpower_apply"
_PROBE_KEYS: Final = 20
_LINGER_S: Final = 0.01  # changes of one moment travel together
_RETRY: Final = Backoff(0.2, 30.0)  # of a key
_FINISH: Final = Backoff(0.005, 1.0)  # while a request holds the row of a key
_log = structlog.get_logger()


class Relay:
    """Any number may run, in any number of processes; a key is in one call at a time."""

    def __init__(
        self,
        db: Database,
        rpc: Rpc,
        settings: Settings,
        clock: Clock,
        bus: Bus | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._db = db
        self._rpc = rpc
        self._settings = settings
        self._jitter = jitter
        self._breaker = Breaker(clock, jitter)
        self._wakeup = Wakeup()
        self._calls: set[asyncio.Task[Delivered]] = set()
        self._idle = Backoff(_LINGER_S, settings.relay_poll_s)
        self._idle_rounds = 0  # in a row
        self._bus = bus
        self._budget = (
            settings.relay_transactions
        )  # both shrink when a gateway finds a call too large
        self._batch = settings.relay_batch
        self._share = 1.0  # of both: less while calls take longer than a statement may
        self._state = ""

    def loop(self) -> Loop:
        """Return the loop that carries; at its end calls under way finish, nothing stays leased."""
        return Loop(
            "relay",
            self._round,
            period_s=self._settings.relay_poll_s,
            wakeup=self._wakeup,
            around=self._carrying,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Carry until `stop` is set."""
        await self.loop().run(stop)

    @asynccontextmanager
    async def _carrying(self) -> AsyncGenerator[None]:
        end = self._bus.subscribe(self._heard) if self._bus else None
        try:
            yield
        finally:
            if end is not None:
                end()
            await self._finish_calls()

    def _heard(self, topic: BusTopic, _: UUID) -> None:
        if topic != SUPABASE_CHANGED:  # what changed there is the puller's
            self._wakeup.notify()

    async def run_once(self) -> Delivered:
        """One call's worth; nothing when nothing is due or the breaker is open."""
        self._send(await self._claim())
        return await self._finish_calls()

    async def drain(self) -> Delivered:
        """Carry until nothing is due or Supabase fails. Returns what was brought."""
        total = Delivered()
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
        """Claim one call's worth and send it beside those under way."""
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
        self._idle_rounds += 1
        return Pause(max(self._idle.pause_s(self._idle_rounds), self._breaker.wait_s()))

    def _sized(self, most: int) -> int:
        return max(1, int(most * self._share))

    def _send(self, claims: Sequence[Claim]) -> None:
        if together := [claim for claim in claims if not claim.alone]:
            self._calls.add(asyncio.create_task(self._deliver(together)))
        if alone := [claim for claim in claims if claim.alone]:
            self._calls.add(asyncio.create_task(self._deliver_each(alone)))

    async def _deliver_each(self, claims: Sequence[Claim]) -> Delivered:
        """One call each, one after the other: what one waits for keeps no other waiting."""
        total = Delivered()
        for claim in claims:
            total += await self._deliver([claim])
        return total

    def _reap(self) -> Delivered:
        finished = {task for task in self._calls if task.done()}
        self._calls -= finished
        return sum((task.result() for task in finished), Delivered())

    async def _finish_calls(self) -> Delivered:
        calls, self._calls = self._calls, set()
        results = await asyncio.gather(*calls, return_exceptions=True)
        total = Delivered()
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

    async def _deliver(self, claims: Sequence[Claim]) -> Delivered:
        """Read, send, finish. Never raises for a failure of Supabase or of our database."""
        try:
            return await self._carry(claims)
        except Unavailable as error:  # the leases end by themselves
            self._breaker.unused()
            _log.warning("relay_lost_database", error=error.for_operators)
            return Delivered(calls=1, retried=len(claims))

    async def _carry(self, claims: Sequence[Claim]) -> Delivered:
        async with self._db.connection() as connection:
            outgoing = await store.read(connection, claims, chunk=self._budget)
        failpoints.hit(Failpoint.RELAY_READ)
        started = time.perf_counter()
        try:
            raw = await self._rpc.call(_APPLY, outgoing.body())
            answers = parse_answers(raw)
            failpoints.hit(Failpoint.RELAY_APPLIED)
        except TooLarge as error:
            self._breaker.unused()
            self._budget = max(1, min(self._budget, outgoing.transaction_count) // 2)
            self._batch = max(1, min(self._batch, len(claims)) // 2)
            return await self._put_off(claims, error, "too_large")
        except TargetRefuses as error:
            self._breaker.failed()
            await self._set_state("misconfigured", str(error))
            return await self._put_off(claims, error, "misconfigured")
        except TargetBusy as error:  # of this call alone: Supabase is up, and the others go on
            self._breaker.succeeded()
            self._share = max(1 / self._batch, self._share / 2)
            return await self._put_off(claims, error, "busy")
        except TargetUnavailable as error:
            self._breaker.failed()
            await self._set_state("down", str(error))
            return await self._put_off(claims, error, "unavailable")
        took_ms = int((time.perf_counter() - started) * 1000)
        recovered = self._breaker.open
        self._breaker.succeeded()
        self._share = min(1.0, self._share * 2)
        await self._set_state("up", None)
        stuck = await self._send_clients_of(
            [one.key for one in answers.values() if one.outcome == "orphan"]
        )
        freed = await self._free_contacts(claims, answers)
        ends = [
            judge(
                one,
                answers.get((one.topic, one.key)),
                outgoing.parts.get(one.key) if one.topic == "client" else None,
                waits_for_client=one.key in stuck,
                waits_for_contact=one.key in freed,
                delay_s=self._delay_s(one),
            )
            for one in claims
        ]
        if gaps := sum(answer.outcome == "gap" for answer in answers.values()):
            _log.warning("supabase_lacks_transactions", clients=gaps)
        await self._finish(ends)
        return await self._remember(ends, outgoing, answers, took_ms, recovered=recovered)

    async def _remember(
        self,
        ends: Sequence[Finish],
        outgoing: Outgoing,
        answers: Mapping[tuple[OutboxTopic, UUID], Answer],
        took_ms: int,
        *,
        recovered: bool,
    ) -> Delivered:
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
        for answer in answers.values():
            metrics.KEYS.labels(answer.topic, answer.outcome).inc()
        outcomes = [answer.outcome for answer in answers.values()]
        return Delivered(
            keys=len(sent),
            transactions=outgoing.transaction_count,
            applied=outcomes.count("applied"),
            stale=outcomes.count("stale"),
            refused=sum(end.verdict == "park" for end in ends),
            retried=sum(end.verdict in {"retry", "alone", "more", "force"} for end in ends),
            calls=1,
        )

    async def _send_clients_of(self, sessions: Sequence[UUID]) -> set[UUID]:
        """Supabase lacks the clients of these sessions; answers those whose client it refuses."""
        if not sessions:
            return set()
        async with self._db.transaction() as connection:
            return await mark_clients_of(connection, sessions)

    async def _free_contacts(
        self, claims: Sequence[Claim], answers: Mapping[tuple[OutboxTopic, UUID], Answer]
    ) -> set[UUID]:
        """Send closed clients that still have a refused client's contact. Returns the latter."""
        refused = lack_a_contact(claims, answers)
        if not refused:
            return set()
        async with self._db.transaction() as connection:
            return await mark_closed_holders(connection, refused)

    async def _put_off(self, claims: Sequence[Claim], error: SyncError, outcome: str) -> Delivered:
        """Nothing was answered: the keys wait, each a little longer than last time."""
        metrics.CALLS.labels(outcome).inc()
        said = str(error)[:300]
        await self._finish([Finish(one, "retry", said, self._delay_s(one)) for one in claims])
        return Delivered(retried=len(claims), calls=1)

    async def _finish(self, ends: Sequence[Finish]) -> None:
        """Keys a request is changing this moment are tried again, then left to their lease."""
        left = list(ends)
        for attempt in range(1, 9):
            async with self._db.transaction() as connection:
                left = await store.finish(connection, left)
                failpoints.hit(Failpoint.RELAY_UNCOMMITTED)
            failpoints.hit(Failpoint.RELAY_ACKNOWLEDGED)
            if not left:
                return
            await asyncio.sleep(_FINISH.pause_s(attempt))

    def _delay_s(self, claim: Claim) -> float:
        return _RETRY.pause_s(claim.attempts + 1, self._jitter)

    async def _set_state(self, state: str, error: str | None) -> None:
        metrics.TARGET_UP.set(state == "up")
        if state == self._state:
            return
        self._state = state
        if state == "misconfigured":
            _log.error("supabase_refuses_evpower", error=error)
        else:
            _log.info("supabase_state", state=state, error=error)
        async with self._db.connection() as connection:
            await store.set_target(connection, state, error)
