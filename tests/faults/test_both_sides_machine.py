"""Whatever happens on either side and between them: at rest both say the same."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, TypeVar
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from evpower.foundation.failpoints import Failpoint
from tests.faults import user_model as model
from tests.faults.both_sides import NODES, BothSides
from tests.faults.comparison import differences, ids
from tests.faults.notifications import FORGERIES, Notification, forge
from tests.faults.proxy import Fault
from tests.faults.user_model import NOTHING, ModelUser, Typed

pytestmark = [pytest.mark.xdist_group("both_sides"), pytest.mark.timeout(1800)]

T = TypeVar("T")
INDEX = st.integers(0, 5)
WHICH = st.integers(0, 2)  # few addresses, so that people want the same ones
NODE = st.integers(0, NODES - 1)
NAMES = st.sampled_from(["Aida", "Бакыт", "Чолпон"])
FORMS = st.sampled_from(["e164", "home", "spaced"])
THEN = st.sampled_from(["", "pull", "relay", "pull, relay"])
AMOUNTS = st.integers(1, 50_000)
FAULTS = st.lists(
    st.sampled_from([fault for fault in Fault if fault is not Fault.NONE]),
    min_size=1,
    max_size=3,
)
PULL_CUTS = st.none() | st.sampled_from(
    [failpoint for failpoint in Failpoint if failpoint.startswith("pull.")]
)
RELAY_CUTS = st.none() | st.sampled_from(
    [failpoint for failpoint in Failpoint if failpoint.startswith("relay.")]
)


def followed(act: Callable[..., None]) -> Callable[..., None]:
    """A user's action, and the EvPower process that works right after it."""

    @wraps(act)
    def rule(self: "BothSidesMachine", *, then: str = "", **drawn: Any) -> None:
        act(self, **drawn)
        self.work(then)

    return rule


class BothSidesMachine(RuleBasedStateMachine):
    """Users on both sides, processes that stop and start, and a network that fails."""

    scenario: BothSides  # set by the test
    loop: asyncio.AbstractEventLoop
    number = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).number += 1
        self.up = True
        self.all: list[ModelUser] = []
        self.notifications: list[Notification] = []
        self.late = False
        self.strangers: set[UUID] = set()

    def person(self, index: int) -> ModelUser | None:
        """One of those there are; which rule runs with what never depends on the scenario."""
        return self.all[index % len(self.all)] if self.all else None

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it in the loop that the scenario runs in."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(300)

    @initialize()
    def begin(self) -> None:
        """One user of each kind, so that every rule has one to act on."""
        self.do(self.scenario.settle())
        self.do(
            self.scenario.new_notifications()
        )  # those of earlier examples: after 5 minutes none is taken
        self.strangers = self.do(ids(self.scenario))
        self.sign_up_there(which=0, metadata={"phone": 0}, makes_row=False)
        self.register_here(node=0, which=1, other=1, text="Aida")

    # -- people at Supabase --------------------------------------------------------------------

    @precondition(lambda self: self.up)
    @rule(
        which=WHICH,
        metadata=st.fixed_dictionaries({}, optional={"phone": WHICH, "name": NAMES}),
        makes_row=st.booleans(),
        then=THEN,
    )
    @followed
    def sign_up_there(self, which: int, metadata: dict[str, Any], *, makes_row: bool) -> None:
        address = model.email(self.number, which)
        profile = {
            "email": address,
            "phone": model.phone(self.number, metadata["phone"])
            if "phone" in metadata
            else NOTHING,
            "name": model.name(metadata.get("name")),
        }
        data = {key: typed.text for key, typed in profile.items() if typed.text and key != "email"}
        made = self.do(self.scenario.sign_up(str(address.text), data))
        if made is None:
            return
        person = ModelUser(*made, profile)
        self.all.append(person)
        if makes_row:
            self._app_writes(person, "email", address)

    @precondition(lambda self: self.up)
    @rule(
        index=INDEX,
        which=WHICH,
        form=FORMS,
        shouted=st.booleans(),
        text=NAMES | st.none(),
        column=st.sampled_from(model.PROFILE),
        then=THEN,
    )
    @followed
    def edit_own_row(
        self, index: int, column: str, which: int, form: str, *, shouted: bool, text: str | None
    ) -> None:
        person = self.person(index)
        if person is None:
            return
        typed = {
            "email": model.email(self.number, which, shouted=shouted),
            "phone": model.phone(self.number, which, form),
            "name": model.name(text),
        }
        self._app_writes(person, column, typed[column])

    def _app_writes(self, person: ModelUser, column: str, typed: Typed) -> None:
        """The app changes the row, or makes it at the first login."""
        key = self.scenario.driver_key(person.token)
        if self.do(self.scenario.write_row(key, person.id, **{column: typed.text})):
            person.writes(column, typed)
            return
        row = {**{name: person.profile[name] for name in model.PROFILE}, column: typed}
        texts = {name: value.text for name, value in row.items()}
        self.do(self.scenario.insert_row(key, person.id, **texts))
        for name, value in row.items():
            person.writes(name, value)

    @precondition(lambda self: self.up)
    @rule(index=INDEX, contact=st.sampled_from(model.CONTACTS), which=WHICH, then=THEN)
    @followed
    def change_login(self, index: int, contact: str, which: int) -> None:
        person = self.person(index)
        if person is None or person.is_deleted:
            return
        value = getattr(model, contact)(self.number, which)
        confirmed = {contact: value.text, f"{contact}_confirm": True}
        if self.do(self.scenario.change_user(person.id, **confirmed)):
            person.logs_in_as(contact, value)

    @precondition(lambda self: self.up)
    @rule(index=INDEX, status=st.sampled_from(["active", "blocked", "inactive"]), then=THEN)
    @followed
    def set_status_by_hand(self, index: int, status: str) -> None:
        person = self.person(index)
        if person is None:
            return
        row = self.do(self.scenario.row_there(person.id))
        if row is None:
            return
        self.do(self.scenario.write_row(self.scenario.server_key, person.id, status=status))
        if person.is_deleted:
            return
        ours_before = row["evpower_revision"] == 0
        match status:
            case "blocked":
                person.leaves_unsaid()
                person.blocked = ours_before or person.blocked
            case _:
                person.leaves(deletion_requested=status == "inactive")
                person.blocked = None if ours_before and person.blocked else person.blocked

    @precondition(lambda self: self.up)
    @rule(index=INDEX, then=THEN)
    @followed
    def delete_row(self, index: int) -> None:
        person = self.person(index)
        if person is None:
            return
        self.do(self.scenario.delete_row(person.id))
        person.loses_row()

    @precondition(lambda self: self.up)
    @rule(index=INDEX, soft=st.booleans(), then=THEN)
    @followed
    def delete_user(self, index: int, *, soft: bool) -> None:
        person = self.person(index)
        if person is None:
            return
        if not person.is_deleted:
            self.do(self.scenario.delete_user(person.id, soft=soft))
            person.is_deleted = True

    @precondition(lambda self: not self.late)
    @rule()
    def open_late_transaction(self) -> None:
        self.do(self.scenario.open_late())
        self.late = True

    @precondition(lambda self: self.late)
    @rule(index=INDEX, text=NAMES)
    def late_transaction_commits(self, index: int, text: str) -> None:
        person = self.person(index)
        if person is None:
            return
        self.late = False
        if self.do(self.scenario.finish_late([(person.id, "name", text)])):
            person.writes("name", model.name(text))

    # -- people at EvPower ---------------------------------------------------------------------

    @rule(node=NODE, which=WHICH, other=WHICH, text=NAMES, then=THEN)
    @followed
    def register_here(self, node: int, which: int, other: int, text: str) -> None:
        address, number = model.email(self.number, which), model.phone(self.number, other)
        answer = self.do(self.scenario.register(node, str(address.text), str(number.text), text))
        assert answer.status_code in {201, 409, 503}, answer.text
        user = self.do(self.scenario.user_by_email(str(address.text)))
        if answer.status_code == 201:
            assert answer.json()["client_id"] == str(user), "one id on both sides"
        if user is None or any(known.id == user for known in self.all):
            return
        profile = {"email": address, "phone": number, "name": model.name(text)}
        person = ModelUser(user, self.do(self.scenario.sign_in(str(address.text))), profile)
        self.all.append(person)

    @rule(index=INDEX, node=NODE, then=THEN)
    @followed
    def request_with_token(self, index: int, node: int) -> None:
        """Also with a token that outlived its user."""
        person = self.person(index)
        if person is None:
            return
        status = self.do(self.scenario.first_request(node, person.id, person.token))
        assert status in {200, 401, 403}

    @rule(index=INDEX, blocked=st.booleans(), then=THEN)
    @followed
    def block_here(self, index: int, *, blocked: bool) -> None:
        person = self.person(index)
        if person is None:
            return
        client = self.do(self.scenario.client_here(person.id))
        if client is None or client["status"] == "closed":
            return
        self.do(self.scenario.block(person.id, blocked=blocked))
        row = self.do(self.scenario.row_there(person.id))
        unwritten = row is not None and row["evpower_revision"] == 0 and row["status"] == "blocked"
        person.blocked = None if unwritten and not blocked else blocked

    @rule(index=INDEX, amount=AMOUNTS)
    def top_up(self, index: int, amount: int) -> None:
        person = self.person(index)
        if person is None:
            return
        if self.do(self.scenario.client_here(person.id)) is not None:
            self.do(self.scenario.top_up(person.id, amount))
            person.pays(amount)

    @rule(index=INDEX, cost=AMOUNTS)
    def charge(self, index: int, cost: int) -> None:
        """Also of a client whose user was deleted while the car was charging."""
        person = self.person(index)
        if person is None:
            return
        if 0 < cost <= person.balance:
            self.do(self.scenario.charge(person.id, cost))
            person.charges(cost)

    # -- notifications -------------------------------------------------------------------------

    @rule()
    def supabase_rings(self) -> None:
        """They are removed from the queue once; another rule delivers them."""
        self.notifications += self.do(self.scenario.new_notifications())

    @rule(which=st.integers(0, 9), node=NODE, again=st.booleans())
    def notification_arrives(self, which: int, node: int, *, again: bool) -> None:
        """After younger ones perhaps, and perhaps not for the last time; others never arrive."""
        if self.notifications:
            notification = self.notifications[which % len(self.notifications)]
            assert self.do(self.scenario.ring(node, notification)) == 200
            if not again:
                self.notifications.remove(notification)

    @rule(index=INDEX, node=NODE, how=st.sampled_from([*FORGERIES, "as driver", "as server"]))
    def someone_cheats(self, index: int, node: int, how: str) -> None:
        """A forged notification, a balance written by hand: refused, and nothing has changed."""
        person = self.person(index)
        if person is None:
            return
        if how in FORGERIES:
            before = self.do(self.scenario.inbox())
            assert self.do(self.scenario.ring(node, forge(how, person.id))) == 401
            assert self.do(self.scenario.inbox()) == before
        elif self.up:
            key = self.scenario.driver_key(person.token)
            key = self.scenario.server_key if how == "as server" else key
            status = self.do(self.scenario.write_balance(key, person.id))
            no_row = self.do(self.scenario.row_there(person.id)) is None
            assert status in {401, 403} or no_row

    # -- processes -----------------------------------------------------------------------------

    @rule(node=NODE, cut=PULL_CUTS)
    def pull(self, node: int, cut: Failpoint | None) -> None:
        self._work(self.scenario.nodes[node].puller.pull_once(), cut)

    @rule(node=NODE, cut=RELAY_CUTS)
    def relay(self, node: int, cut: Failpoint | None) -> None:
        self._work(self.scenario.nodes[node].relay.drain(), cut)

    @rule(cut=PULL_CUTS | RELAY_CUTS)
    def everything_at_once(self, cut: Failpoint | None) -> None:
        self._work(self.scenario.all_at_once(), cut)

    def work(self, then: str) -> None:
        """Let a puller, a relay or both have their turn."""
        node = self.scenario.nodes[0]
        if "pull" in then:
            self._work(node.puller.drain(), None)
        if "relay" in then:
            self._work(node.relay.drain(), None)

    def _work(self, work: Coroutine[Any, Any, Any], cut: Failpoint | None) -> None:
        self.scenario.cut = cut
        try:
            self.do(self.scenario.survive(work))
        finally:
            self.scenario.cut = None

    @rule(faults=FAULTS)
    def network_fails(self, faults: list[Fault]) -> None:
        self.scenario.proxy.plan.extend(faults)

    @rule(process=st.sampled_from(["supabase", "postgres", "node 0", "node 1"]))
    def dies(self, process: str) -> None:
        """EvPower and PostgreSQL are back at once; Supabase when it is named again, or at rest."""
        match process:
            case "supabase" if self.up:
                self.do(self.scenario.kill_supabase())
                self.up = False
            case "supabase":
                self.do(self.scenario.everything_runs())
                self.up = True
            case "postgres":
                self.do(self.scenario.kill_postgres())
                self.do(self.scenario.everything_runs())
                self.up, self.late = True, False
            case _:
                self.do(self.scenario.restart_node(int(process[-1])))

    # -- rest ----------------------------------------------------------------------------------

    @rule()
    def rest(self) -> None:
        self.do(self.scenario.drop_late())
        self.late = False
        self.do(self.scenario.settle())
        self.up = True
        assert self.do(differences(self.scenario, self.all, self.strangers)) == []

    def teardown(self) -> None:
        try:
            self.rest()
        finally:
            self.do(self.scenario.everything_runs())


async def test_at_rest_both_sides_are_equal(scenario: BothSides) -> None:
    running = asyncio.get_running_loop()

    class Here(BothSidesMachine):
        loop = running

    Here.scenario = scenario
    await asyncio.to_thread(
        run_state_machine_as_test,
        Here,
        settings=settings(
            max_examples=settings().max_examples // 5,
            stateful_step_count=settings().stateful_step_count * 5 // 8,
            report_multiple_bugs=False,
        ),
    )
