"""Both databases and the model side by side: every sentence here is a difference."""

from collections.abc import Collection, Iterator, Sequence
from uuid import UUID

from evpower.foundation.db import Record
from evpower.sync.reconciliation.drift import Drift
from tests.faults.both_sides import BothSides
from tests.faults.user_model import CONTACTS, PROFILE, SHOWN, ModelUser, normal

Rows = dict[UUID, Record]

_HERE = """
select c.*, w.balance_minor, w.version,
       (select count(*) from wallet.wallets x where x.client_id = c.id) as wallets,
       (select coalesce(sum(t.amount_minor), 0)::bigint from wallet.transactions t
         where t.client_id = c.id) as posted_minor,
       (select count(*) from identity.registrations r
         where r.client_id = c.id and r.state = 'intended') as half_way
  from identity.clients c left join wallet.wallets w on w.client_id = c.id
 where c.id <> all ($1)
"""
_THERE = """
select c.*, (c.balance * 100)::bigint as balance_minor,
       (select coalesce(sum(t.amount), 0) * 100 from public.transactions t
         where t.client_id = c.id)::bigint as posted_minor,
       (select count(*) from public.transactions t where t.client_id = c.id) as transactions
  from public.clients c where c.id <> all ($1)
"""
_USERS = "select * from auth.users where deleted_at is null and id <> all ($1)"


async def ids(scenario: BothSides) -> set[UUID]:
    """All clients and users of both sides."""
    clients = await scenario.here.rows("select id from identity.clients")
    rows = await scenario.there.rows(
        "select id from public.clients union select id from auth.users"
    )
    return {row["id"] for row in (*clients, *rows)}


async def differences(
    scenario: BothSides, people: Sequence[ModelUser], strangers: Collection[UUID] = ()
) -> list[str]:
    """What is not as it should be at rest; nothing: the sides are equal and the model is right.

    `strangers` were there before the scenario and are not compared.
    """
    others = list(strangers)
    here = {row["id"]: row for row in await scenario.here.rows(_HERE, others)}
    there = {row["id"]: row for row in await scenario.there.rows(_THERE, others)}
    users = {row["id"]: row for row in await scenario.there.rows(_USERS, others)}
    problems = [*_ids(here, there, users), *_contacts(here, there)]
    for person in people:
        ours, theirs = here.get(person.id), there.get(person.id)
        lines = [*_standing(person, ours, theirs), *_money(person, ours, theirs)]
        if theirs is not None and not person.is_deleted:
            lines += _profile(person, theirs)
        problems += [f"{person!r} {person.id}: {line}" for line in lines]
    drift = await _drift(scenario, others)
    if not problems and drift and all(each.kind == "closed_contact" for each in drift):
        await scenario.repair()  # what an app writes there stays until a check looks
        drift = await _drift(scenario, others)
    return problems + [f"drift: {difference}" for difference in drift]


async def _drift(scenario: BothSides, strangers: Collection[UUID]) -> list[Drift]:
    return [each for each in await scenario.drift() if UUID(each.key) not in strangers]


def _ids(here: Rows, there: Rows, users: Rows) -> Iterator[str]:
    """Every living user is a client, every client is in Supabase, under one id."""
    for user_id in users.keys() - here.keys():
        yield f"user {user_id} is no client"
    for client_id, client in here.items():
        if client_id not in there and client["status"] != "closed":  # theirs is deleted for good
            yield f"client {client_id} has no row in Supabase"
        if client["wallets"] != 1:
            yield f"client {client_id} has {client['wallets']} wallets"
        if client["half_way"]:
            yield f"the registration of {client_id} is still half-way"
        if client["status"] != "closed" and client_id not in users:
            yield f"client {client_id} is {client['status']} and has no user"
        if client["status"] == "closed" and client_id in users:
            yield f"client {client_id} is closed and its user lives"


def _standing(person: ModelUser, ours: Record | None, theirs: Record | None) -> Iterator[str]:
    if ours is None:
        if not person.is_deleted:
            yield "is no client"
        return
    wanted = (
        "closed" if person.is_deleted else {True: "blocked", False: "active"}.get(person.blocked)
    )  # pyright: ignore[reportArgumentType]
    if wanted is not None and ours["status"] != wanted:
        yield f"is {ours['status']} in EvPower, should be {wanted}"
    if theirs is None:
        return
    is_requested = ours["deletion_requested_at"] is not None
    if (
        not person.is_deleted
        and person.deletion_requested is not None
        and is_requested is not person.deletion_requested
    ):
        yield (
            f"asked for deletion: {is_requested} in EvPower, should be {person.deletion_requested}"
        )
    shown = "inactive" if is_requested and ours["status"] == "active" else SHOWN[ours["status"]]
    if theirs["status"] != shown:
        yield f"is {theirs['status']} in Supabase, should be {shown}"


def _money(person: ModelUser, ours: Record | None, theirs: Record | None) -> Iterator[str]:
    if ours is None:
        if person.amounts:
            yield "had money and is no client"
        return
    money = (ours["balance_minor"], ours["posted_minor"], ours["version"])
    if money != (person.balance, person.balance, len(person.amounts)):
        yield f"has {money} in EvPower, should have {person.amounts}"
    if theirs is not None:
        money = (theirs["balance_minor"], theirs["posted_minor"], theirs["transactions"])
        if money != (person.balance, person.balance, len(person.amounts)):
            yield f"has {money} in Supabase, should have {person.amounts}"


def _profile(person: ModelUser, theirs: Record) -> Iterator[str]:
    """Only users write profiles; a row EvPower created has the user's values, or fewer."""
    for column in PROFILE:
        expected, shown = person.profile[column], theirs[column]
        if column in person.written:
            if shown != expected.text:
                yield f"{column} is {shown!r} in Supabase, a person wrote {expected.text!r}"
        elif shown not in person.may_show(column):
            yield f"{column} is {shown!r} in Supabase, the user said {expected.text!r}"


def _contacts(here: Rows, there: Rows) -> Iterator[str]:
    """A profile here is the row there; a contact may be missing only while another rightly has it.

    "Rightly": the other's own row says so. Two who swapped phones must not wait for each other.
    """
    open_here = {
        client_id: client
        for client_id, client in here.items()
        if client["status"] != "closed" and client_id in there
    }
    wants = {
        client_id: {column: normal(column, there[client_id][column]) for column in PROFILE}
        for client_id in open_here
    }
    for client_id, client in open_here.items():
        for column in PROFILE:
            if client[column] == wants[client_id][column]:
                continue
            rightly = column in CONTACTS and any(
                other != client_id
                and wants[other][column] == wants[client_id][column] == theirs[column]
                for other, theirs in open_here.items()
            )
            if not rightly:
                yield (
                    f"client {client_id}: {column} is {client[column]!r} in EvPower,"
                    f" {there[client_id][column]!r} in Supabase"
                )
