"""Routes by which operators read and set tariffs: /api/v1/operator/tariffs."""

from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query

from evpower.foundation.errors import Invalid
from evpower.foundation.openapi import Responses, problem
from evpower.foundation.paging import LIMIT_DEFAULT
from evpower.foundation.segments import SegmentRoute
from evpower.identity import (
    OPERATOR_PATH,
    OPERATOR_REFUSALS,
    OperatorCalls,
    Principal,
    RowLimit,
    actor_of,
    operator_call,
    refuse_own_account,
)
from evpower.tariffs import operator_schemas as schemas
from evpower.tariffs.assign import FindPlace, assign, place_id
from evpower.tariffs.client_tariffs import (
    NewClientTariff,
    add_client_tariff,
    end_client_tariff,
    get_client_tariff,
    list_client_tariffs,
    read_discount,
)
from evpower.tariffs.find import get_plan, list_assignments, list_plans, list_versions
from evpower.tariffs.quote import cost_document, quote_even, read_energy_wh
from evpower.tariffs.save import activate, save

_CREATED: Final = 201
_KNOWN: Final[Responses] = {**OPERATOR_REFUSALS, 404: problem("`tariff_not_found`")}
_CHANGED: Final[Responses] = {
    **_KNOWN,
    409: problem("`tariff_already_active`, `tariff_not_in_force`, `idempotency_conflict`"),
    422: problem(
        "`invalid_request`, `tariff_starts_in_past`, `tariff_scope_invalid`, or what is wrong in "
        "the document: `tariff_hole`, `tariff_field_unknown`, ..."
    ),
}
_ASSIGNED: Final[Responses] = {
    **_CHANGED,
    404: problem(
        "`tariff_not_found`, `location_not_found`, `station_not_found`, `connector_not_found`"
    ),
    409: problem("`tariff_not_in_force`, `location_ambiguous`, `idempotency_conflict`"),
}
_OF_CLIENT: Final[Responses] = {
    **_CHANGED,
    404: problem("`client_not_found`, `tariff_not_found`"),
    409: problem("`own_account`: another operator does it; `idempotency_conflict`"),
}
_PLAN: Final = {"where": "plan"}
_Plan = Annotated[str, Path(min_length=1, max_length=64)]
_Number = Annotated[int, Path(ge=1, le=2**31 - 1)]


def tariffs_router(calls: OperatorCalls, find_place: FindPlace) -> APIRouter:
    """Returns the routes."""
    routes = APIRouter(prefix=OPERATOR_PATH, tags=["operator tariffs"], route_class=SegmentRoute)
    _add_reads(routes, calls)
    _add_changes(routes, calls)
    _add_assigning(routes, calls, find_place)
    _add_clients(routes, calls)
    return routes


def _add_reads(routes: APIRouter, calls: OperatorCalls) -> None:
    may_read = calls.access.may("read")

    @routes.get(
        "/tariffs", summary="Tariffs of every plan", responses=OPERATOR_REFUSALS,
        openapi_extra=operator_call("read"),
    )  # fmt: skip
    async def plans(  # pyright: ignore[reportUnusedFunction]
        _: Annotated[Principal, Depends(may_read)],
    ) -> list[schemas.OperatedTariff]:
        """What is in force now, what comes later, and newer drafts."""
        async with calls.db.connection() as connection:
            listed = await list_plans(connection, calls.clock())
        return [schemas.OperatedTariff.model_validate(version) for version in listed]

    @routes.get(
        "/tariffs/{plan}", summary="Every version of a plan", responses=_KNOWN,
        openapi_extra=operator_call("read"),
    )  # fmt: skip
    async def versions(  # pyright: ignore[reportUnusedFunction]
        _: Annotated[Principal, Depends(may_read)], plan: _Plan
    ) -> list[schemas.OperatedTariff]:
        """The newest first."""
        async with calls.db.connection() as connection:
            listed = await list_versions(connection, plan)
        return [schemas.OperatedTariff.model_validate(version) for version in listed]

    @routes.get(
        "/tariff-assignments",
        summary="Which plan prices what",
        responses=OPERATOR_REFUSALS,
        openapi_extra=operator_call("read"),
    )
    async def assignments(  # pyright: ignore[reportUnusedFunction]
        _: Annotated[Principal, Depends(may_read)],
    ) -> list[schemas.OperatedAssignment]:
        """Now and later, the widest scope first."""
        async with calls.db.connection() as connection:
            listed = await list_assignments(connection, calls.clock())
        return [schemas.OperatedAssignment.model_validate(row) for row in listed]

    @routes.post(
        "/tariffs/{plan}/quote",
        summary="Price an example by a plan",
        responses={**_KNOWN, 422: problem("`invalid_request`, `tariff_example_invalid`")},
        openapi_extra=operator_call("read"),
    )
    async def quote(  # pyright: ignore[reportUnusedFunction]
        _: Annotated[Principal, Depends(may_read)], plan: _Plan, body: schemas.TariffExample
    ) -> schemas.QuotedCost:
        """By the price function that bills: a draft by its version, else what is in force then."""
        async with calls.db.connection() as connection:
            snapshot = await get_plan(connection, plan, at=body.started_at, number=body.version)
        priced = quote_even(
            snapshot.tariff,
            started_at=body.started_at,
            energy_wh=read_energy_wh(body.energy_kwh),
            minutes=body.minutes,
        )
        cost = cost_document(snapshot.tariff, priced)
        return schemas.QuotedCost(plan=snapshot.plan, version=snapshot.version, **cost)


def _add_changes(routes: APIRouter, calls: OperatorCalls) -> None:
    may_change = calls.access.may("tariff.change")

    @routes.post(
        "/tariffs/{plan}/versions",
        summary="Save a version of a plan",
        status_code=_CREATED,
        responses=_CHANGED,
        openapi_extra=operator_call("tariff.change"),
    )
    async def save_version(  # pyright: ignore[reportUnusedFunction]
        caller: Annotated[Principal, Depends(may_change)], plan: _Plan, body: schemas.NewTariff
    ) -> schemas.SavedVersion:
        """A new code, which the document may name, makes a new plan; a hole is refused."""
        document = dict(body.document)
        if document.pop("plan", plan) != plan:
            raise Invalid("tariff_field_invalid", f"plan: the path says {plan}", params=_PLAN)
        async with calls.db.transaction() as connection:
            saved = await save(
                connection,
                plan=plan,
                document=document,
                valid_from=body.valid_from,
                now=calls.clock(),
                actor=actor_of(caller),
                reason=body.reason,
            )
        return schemas.SavedVersion(
            tariff=schemas.OperatedTariff.model_validate(saved.version),
            is_new=saved.is_new,
            warnings=[schemas.TariffWarning.model_validate(flaw) for flaw in saved.warnings],
        )

    @routes.post(
        "/tariffs/{plan}/versions/{version}/activate",
        summary="Put a draft in force",
        responses=_CHANGED,
        openapi_extra=operator_call("tariff.change"),
    )
    async def activate_version(  # pyright: ignore[reportUnusedFunction]
        caller: Annotated[Principal, Depends(may_change)],
        plan: _Plan,
        version: _Number,
        body: schemas.ActivatedTariff,
    ) -> schemas.OperatedTariff:
        """From a time on, in the future. Sessions that run keep the tariff they began with."""
        async with calls.db.transaction() as connection:
            active = await activate(
                connection,
                plan=plan,
                number=version,
                valid_from=body.valid_from,
                now=calls.clock(),
                actor=actor_of(caller),
                reason=body.reason,
            )
        return schemas.OperatedTariff.model_validate(active)


def _add_assigning(routes: APIRouter, calls: OperatorCalls, find_place: FindPlace) -> None:
    @routes.post(
        "/tariff-assignments",
        summary="Let a plan price a place",
        status_code=_CREATED,
        responses=_ASSIGNED,
        openapi_extra=operator_call("tariff.change"),
    )
    async def assign_plan(  # pyright: ignore[reportUnusedFunction]
        caller: Annotated[Principal, Depends(calls.access.may("tariff.change"))],
        body: schemas.NewAssignment,
    ) -> list[schemas.OperatedAssignment]:
        """Everything, a location, a station or a connector; answers all of them as they are now."""
        async with calls.db.transaction() as connection:
            scope_id = await place_id(
                connection,
                find_place,
                body.scope,
                body.scope_id,
                ends_at=calls.clock() if body.plan is None else None,
            )
            await assign(
                connection,
                scope=body.scope,
                scope_id=scope_id,
                plan=body.plan,
                valid_from=body.valid_from,
                now=calls.clock(),
                actor=actor_of(caller),
                reason=body.reason,
            )
            listed = await list_assignments(connection, calls.clock())
        return [schemas.OperatedAssignment.model_validate(row) for row in listed]


def _add_clients(routes: APIRouter, calls: OperatorCalls) -> None:
    may_change = calls.access.may("tariff.change")

    @routes.get(
        "/client-tariffs",
        summary="What single clients pay",
        responses=OPERATOR_REFUSALS,
        openapi_extra=operator_call("read"),
    )
    async def of_clients(  # pyright: ignore[reportUnusedFunction]
        _: Annotated[Principal, Depends(calls.access.may("read"))],
        client: Annotated[UUID | None, Query(description="Its id")] = None,
        limit: RowLimit = LIMIT_DEFAULT,
    ) -> list[schemas.OperatedClientTariff]:
        """The newest first, ended ones too."""
        async with calls.db.connection() as connection:
            rows = await list_client_tariffs(connection, client_id=client, limit=limit)
        return [schemas.client_tariff_shown(row) for row in rows]

    @routes.post(
        "/client-tariffs",
        summary="Give a client a tariff of its own",
        status_code=_CREATED,
        responses=_OF_CLIENT,
        openapi_extra=operator_call("tariff.change"),
    )
    async def give(  # pyright: ignore[reportUnusedFunction]
        caller: Annotated[Principal, Depends(may_change)], body: schemas.NewTariffOfClient
    ) -> schemas.OperatedClientTariff:
        """From a time on, in the future. What runs keeps its price."""
        await refuse_own_account(calls.db, caller, body.client_id, "tariff.change")
        percent = body.discount_percent
        new = NewClientTariff(
            body.client_id,
            body.valid_from,
            body.valid_until,
            body.plan,
            None if percent is None else read_discount(percent),
            body.discount_on,
        )
        async with calls.db.transaction() as connection:
            stored = await add_client_tariff(
                connection,
                new,
                now=calls.clock(),
                actor=actor_of(caller),
                reason=body.reason,
            )
        return schemas.client_tariff_shown(stored)

    @routes.post(
        "/client-tariffs/{number}/end",
        summary="End a client's own tariff",
        responses=_OF_CLIENT,
        openapi_extra=operator_call("tariff.change"),
    )
    async def end(  # pyright: ignore[reportUnusedFunction]
        caller: Annotated[Principal, Depends(may_change)],
        number: Annotated[int, Path(ge=1, le=2**63 - 1)],
        body: schemas.EndedTariffOfClient,
    ) -> schemas.OperatedClientTariff:
        """At a time from now on."""
        async with calls.db.connection() as connection:
            given = await get_client_tariff(connection, number)
        client_id = None if given is None else given.client_id
        await refuse_own_account(calls.db, caller, client_id, "tariff.change")
        async with calls.db.transaction() as connection:
            stored = await end_client_tariff(
                connection,
                number=number,
                valid_until=body.valid_until,
                now=calls.clock(),
                actor=actor_of(caller),
                reason=body.reason,
            )
        return schemas.client_tariff_shown(stored)
