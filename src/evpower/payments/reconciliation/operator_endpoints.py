"""Routes by which operators reconcile with payment providers."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Any, Final, Literal, NamedTuple

import orjson
from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from evpower.foundation.errors import Unavailable
from evpower.foundation.openapi import Responses, json_schema, problem
from evpower.foundation.paging import LIMIT_DEFAULT, Page, cut, read_cursor, write_cursor
from evpower.foundation.segments import SegmentRoute
from evpower.identity import (
    OPERATOR_PATH,
    OPERATOR_REFUSALS,
    OperatorCalls,
    Principal,
    RowCursor,
    RowLimit,
    actor_of,
    operator_call,
    refuse_own_account,
)
from evpower.payments.confirm import Confirmer
from evpower.payments.errors import ProviderError
from evpower.payments.model import PaymentStatus
from evpower.payments.providers.registry import Providers
from evpower.payments.reconciliation import store
from evpower.payments.reconciliation.decide import decide
from evpower.payments.reconciliation.model import (
    Decision,
    Difference,
    DifferenceKind,
    Reconciliation,
    RunOrigin,
    Source,
)
from evpower.payments.reconciliation.period import days
from evpower.payments.reconciliation.reconcile import Reconciler
from evpower.payments.reconciliation.shown import difference_json, differences_csv

_Name = Annotated[str, Field(min_length=1, max_length=40)]
_Minor = Annotated[int, Field(description="Minor units (tyiyn)")]
_CSV_ROWS: Final = 10_000
_PROVIDER_FAILED: Final = "the provider did not answer, or refused its list"


class RunPlace(NamedTuple):
    """Where a page of runs ends."""

    id: int


class DifferencePlace(NamedTuple):
    """Where a page of differences ends."""

    id: int


class ProviderReconciliation(BaseModel):
    """A period of a provider compared with what EvPower credited. `until` is not part of it."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    provider: str
    kind: RunOrigin
    source: Source
    since: datetime
    until: datetime
    source_name: str | None
    actor: str
    started_at: datetime
    finished_at: datetime
    ours_count: int
    ours_minor: _Minor
    ours_returned_minor: _Minor
    theirs_count: int
    theirs_minor: _Minor
    theirs_returned_minor: _Minor
    difference_count: int


class PaymentDifference(BaseModel):
    """What differs about one transaction of a provider."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    provider: str
    subject: str
    kind: DifferenceKind
    payment_id: int | None
    invoice_id: str | None
    reference: str | None
    order_id: str | None
    currency: str
    theirs_currency: str
    theirs_status: PaymentStatus | None
    ours_minor: _Minor
    theirs_minor: _Minor
    ours_returned_minor: _Minor
    theirs_returned_minor: Annotated[
        int | None, Field(ge=0, description="null: something was returned, the amount is unknown")
    ]
    at: datetime
    found_at: datetime
    last_run: int
    closed_at: Annotated[datetime | None, Field(description="Both sides agree, or facts changed")]
    decision: Decision | None
    decided_by: str | None
    decided_at: datetime | None
    reason: str | None


class NewReconciliation(BaseModel):
    """Days in Asia/Bishkek, both part of the period; at most 93."""

    model_config = ConfigDict(extra="forbid")

    provider: _Name
    first: date
    last: date


class NewDecision(BaseModel):
    """ask: apply what the provider says now. review: to the payments in review. explained: none."""

    model_config = ConfigDict(extra="forbid")

    decision: Decision
    reason: Annotated[str, Field(min_length=1, max_length=200)]


class DecidedDifference(BaseModel):
    """The difference after the decision, and the outcomes of the events that it caused."""

    difference: PaymentDifference
    outcomes: list[str]


_FAILS: Final[Responses] = {
    **OPERATOR_REFUSALS,
    404: problem("`provider_not_found`, `difference_not_found`"),
    503: problem("`payment_provider_error`: it did not answer, or refused its list"),
}
_LISTED: Final[dict[int | str, dict[str, Any]]] = {
    **OPERATOR_REFUSALS,
    200: {
        "description": "The newest first; CSV has at most 10,000 rows",
        "content": {
            "application/json": {"schema": json_schema(Page[PaymentDifference])},
            "text/csv": {"schema": {"type": "string"}},
        },
    },
}


def reconciliation_router(
    calls: OperatorCalls, providers: Providers, confirmer: Confirmer
) -> APIRouter:
    """Returns the routes."""
    routes = APIRouter(prefix=OPERATOR_PATH, tags=["operator payments"], route_class=SegmentRoute)
    _add_reads(routes, calls)
    _add_acts(routes, calls, providers, confirmer)
    return routes


def _add_reads(routes: APIRouter, calls: OperatorCalls) -> None:
    may_read = calls.access.may("read")

    @routes.get(
        "/reconciliations", summary="Runs of the reconciliation with payment providers",
        responses=OPERATOR_REFUSALS, openapi_extra=operator_call("read"),
    )  # fmt: skip
    async def runs(  # pyright: ignore[reportUnusedFunction]
        _: Annotated[Principal, Depends(may_read)],
        provider: Annotated[_Name | None, Query()] = None,
        limit: Annotated[RowLimit, Query()] = LIMIT_DEFAULT,
        cursor: Annotated[RowCursor, Query()] = None,
    ) -> Page[ProviderReconciliation]:
        """The newest first."""
        place = read_cursor(cursor, RunPlace)
        async with calls.db.connection() as connection:
            rows = await store.list_runs(connection, provider, place and place.id, limit + 1)
        page, last = cut(rows, limit)
        return Page(
            items=[_run(row) for row in page],
            next=None if last is None else write_cursor(RunPlace(last.id)),
        )

    @routes.get(
        "/payment-differences", summary="What differs between EvPower and payment providers",
        responses=_LISTED, response_class=Response, openapi_extra=operator_call("read"),
    )  # fmt: skip
    async def differences(  # pyright: ignore[reportUnusedFunction]
        _: Annotated[Principal, Depends(may_read)],
        provider: Annotated[_Name | None, Query()] = None,
        state: Annotated[Literal["open", "decided", "closed", "all"], Query()] = "open",
        form: Annotated[Literal["json", "csv"], Query(alias="format")] = "json",
        limit: Annotated[RowLimit, Query()] = LIMIT_DEFAULT,
        cursor: Annotated[RowCursor, Query()] = None,
    ) -> Response:
        """Open: neither decided, nor found equal by a later run."""
        place = read_cursor(cursor, DifferencePlace)
        async with calls.db.connection() as connection:
            rows = await store.list_differences(
                connection,
                provider=provider,
                state=state,
                before_id=place and place.id,
                limit=_CSV_ROWS if form == "csv" else limit + 1,
            )
        if form == "csv":
            return _csv(rows, calls.clock())
        page, last = cut(rows, limit)
        body = {
            "items": [difference_json(row) for row in page],
            "next": None if last is None else write_cursor(DifferencePlace(last.id)),
        }
        return Response(orjson.dumps(body), media_type="application/json")


def _add_acts(
    routes: APIRouter, calls: OperatorCalls, providers: Providers, confirmer: Confirmer
) -> None:
    may_decide = calls.access.may("payment.decide")
    reconciler = Reconciler(calls.db, providers, calls.clock)

    @routes.post(
        "/reconciliations", summary="Reconcile a period with a payment provider",
        status_code=201, responses=_FAILS, openapi_extra=operator_call("payment.decide"),
    )  # fmt: skip
    async def reconcile(  # pyright: ignore[reportUnusedFunction]
        caller: Annotated[Principal, Depends(may_decide)], body: NewReconciliation
    ) -> ProviderReconciliation:
        """Changes no payment: it stores what differs. The last ten minutes are left out."""
        since, until = days(body.first, body.last)
        try:
            run = await reconciler.run(body.provider, since, until, actor=actor_of(caller))
        except ProviderError as error:
            raise Unavailable("payment_provider_error", _PROVIDER_FAILED) from error
        return _run(run)

    @routes.post(
        "/payment-differences/{difference_id}/decide", summary="Decide about a difference",
        responses={
            **_FAILS,
            409: problem(
                "`difference_decided`, `difference_closed`, `order_unknown`, `nothing_to_review`, "
                "`own_account`"
            ),
        },
        openapi_extra=operator_call("payment.decide"),
    )  # fmt: skip
    async def decide_difference(  # pyright: ignore[reportUnusedFunction]
        caller: Annotated[Principal, Depends(may_decide)],
        difference_id: Annotated[int, Path(ge=1, le=2**63 - 1)],
        body: NewDecision,
    ) -> DecidedDifference:
        """Money moves only by what the provider says when asked, or by a payment's review."""
        async with calls.db.connection() as connection:
            clients = await store.clients_of_difference(connection, difference_id)
        own = caller.user_id if caller.user_id in clients else None
        await refuse_own_account(calls.db, caller, own, "payment.decide")
        try:
            decided = await decide(
                calls.db,
                providers,
                confirmer,
                difference_id=difference_id,
                decision=body.decision,
                operator=actor_of(caller),
                reason=body.reason,
                clock=calls.clock,
            )
        except ProviderError as error:
            raise Unavailable("payment_provider_error", _PROVIDER_FAILED) from error
        return DecidedDifference(
            difference=PaymentDifference.model_validate(decided.difference),
            outcomes=list(decided.outcomes),
        )


def _run(run: Reconciliation) -> ProviderReconciliation:
    return ProviderReconciliation.model_validate(run)


def _csv(rows: Sequence[Difference], now: datetime) -> Response:
    name = f"evpower-differences-{now.date().isoformat()}.csv"
    return Response(
        differences_csv(rows),
        media_type="text/csv",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )
