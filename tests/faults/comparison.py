"""Both databases and the model side by side: every sentence here is a difference."""

from collections.abc import Collection, Iterator, Sequence
from uuid import UUID

from evpower.foundation.db import Record
from tests.faults.both_sides import BothSides
from tests.faults.people import CONTACTS, PROFILE, SHOWN, Person, normal

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
    """Everybody either side has."""
    clients = await scenario.here.rows("select id from identity.clients")
    rows = await scenario.there.rows(
        "select id from public.clients union select id from auth.users"
    )
    return {row["id"] for row in (*clients, *rows)}


async def differences(
    scenario: BothSides, people: Sequence[Person], strangers: Collection[UUID] = ()
) -> list[str]:
    """What is not as it should be at rest; nothing: the sides are equal and the model is right.

    `strangers` were there before and are somebody else's business.
    """
    others = list(strangers)
    here = {row["id"]: row for row in await scenario.here.rows(_HERE, others)}
    there = {row["id"]: row for row in await scenario.there.rows(_THERE, others)}
    users = {row["id"]: row for row in await scenario.there.rows(_USERS, others)}
    found = [*_ids(here, there, users), *_contacts(here, there)]
    for person in people:
        ours, theirs = here.get(person.id), there.get(person.id)
        lines = [*_standing(person, ours, theirs), *_money(person, ours, theirs)]
        if theirs is not None and not person.gone:
            lines += _profile(person, theirs)
        found += [f"{person!r} {person.id}: {line}" for line in lines]
    drift = [one for one in await scenario.drift() if UUID(one.key) not in others]
    return found + [f"drift: {one}" for one in drift]


def _ids(here: Rows, there: Rows, users: Rows) -> Iterator[str]:
    """Every living user is a client, every client is in Supabase, under one id."""
    for one in users.keys() - here.keys():
        yield f"user {one} is no client"
    for one, client in here.items():
        if one not in there and client["status"] != "closed":  # theirs is deleted for good
            yield f"client {one} has no row in Supabase"
        if client["wallets"] != 1:
            yield f"client {one} has {client['wallets']} wallets"
        if client["half_way"]:
            yield f"the registration of {one} is still half-way"
        if client["status"] != "closed" and one not in users:
            yield f"client {one} is {client['status']} and has no user"
        if client["status"] == "closed" and one in users:
            yield f"client {one} is closed and its user lives"


def _standing(person: Person, ours: Record | None, theirs: Record | None) -> Iterator[str]:
    if ours is None:
        if not person.gone:
            yield "is no client"
        return
    wanted = "closed" if person.gone else {True: "blocked", False: "active"}.get(person.blocked)  # pyright: ignore[reportArgumentType]
    if wanted is not None and ours["status"] != wanted:
        yield f"is {ours['status']} in EvPower, should be {wanted}"
    if theirs is None:
        return
    asked = ours["deletion_requested_at"] is not None
    if not person.gone and person.leaving is not None and asked is not person.leaving:
        yield f"asked for deletion: {asked} in EvPower, should be {person.leaving}"
    shown = "inactive" if asked and ours["status"] == "active" else SHOWN[ours["status"]]
    if theirs["status"] != shown:
        yield f"is {theirs['status']} in Supabase, should be {shown}"


def _money(person: Person, ours: Record | None, theirs: Record | None) -> Iterator[str]:
    if ours is None:
        if person.amounts:
            yield "had money and is no client"
        return
    told = (ours["balance_minor"], ours["posted_minor"], ours["version"])
    if told != (person.balance, person.balance, len(person.amounts)):
        yield f"has {told} in EvPower, should have {person.amounts}"
    if theirs is not None:
        told = (theirs["balance_minor"], theirs["posted_minor"], theirs["transactions"])
        if told != (person.balance, person.balance, len(person.amounts)):
            yield f"has {told} in Supabase, should have {person.amounts}"


def _profile(person: Person, theirs: Record) -> Iterator[str]:
    """Nobody but people writes a profile; a row EvPower made has what the user said, or less."""
    for column in PROFILE:
        said, shown = person.profile[column], theirs[column]
        if column in person.written:
            if shown != said.text:
                yield f"{column} is {shown!r} in Supabase, a person wrote {said.text!r}"
        elif shown not in person.may_show(column):
            yield f"{column} is {shown!r} in Supabase, the user said {said.text!r}"


def _contacts(here: Rows, there: Rows) -> Iterator[str]:
    """A profile here is the row there; a contact may be missing only while another rightly has it.

    "Rightly": the other's own row says so. Two who swapped phones must not wait for each other.
    """
    open_here = {
        one: client for one, client in here.items() if client["status"] != "closed" and one in there
    }
    wants = {
        one: {column: normal(column, there[one][column]) for column in PROFILE} for one in open_here
    }
    for one, client in open_here.items():
        for column in PROFILE:
            if client[column] == wants[one][column]:
                continue
            rightly = column in CONTACTS and any(
                other != one and wants[other][column] == wants[one][column] == theirs[column]
                for other, theirs in open_here.items()
            )
            if not rightly:
                yield (
                    f"client {one}: {column} is {client[column]!r} in EvPower,"
                    f" {there[one][column]!r} in Supabase"
                )
