"""The same Idempotency-Key with and without a token: what a stranger may not resume."""

import pytest

from evpower.foundation.errors import Conflict
from evpower.payments import StartedTopUp, TopUpFailure, top_up
from tests.payments.conftest import Scenario


async def test_without_a_token_a_key_gets_nothing_begun_with_one(scenario: Scenario) -> None:
    async def run(key: str, *, without_token: bool) -> StartedTopUp | TopUpFailure:
        return await top_up(
            scenario.db,
            scenario.provider,
            scenario.confirmer,
            client_id=scenario.client_id,
            amount_minor=10_000,
            description=None,
            clock=scenario.clock,
            key=key,
            without_token=without_token,
        )

    await run("own", without_token=False)
    with pytest.raises(Conflict, match="another request"):
        await run("own", without_token=True)
    begun = await run("theirs", without_token=True)
    for without_token in (True, False):
        again = await run("theirs", without_token=without_token)
        assert begun.payment is not None
        assert again.payment is not None
        assert again.payment.id == begun.payment.id
