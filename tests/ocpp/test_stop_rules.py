"""StopTransaction: what follows of it waits as the settings say."""

from datetime import timedelta

from evpower.charging import Rules
from evpower.foundation.db import Connection, Database
from evpower.ocpp.model import Frame, OcppPayload
from evpower.ocpp.v16 import stop_transaction
from tests.charging.place import ChargingPlace
from tests.charging.test_steps import goes_on, told_to_stop


async def test_the_end_of_a_limit_expires_with_them(db: Database, owner: Connection) -> None:
    place = ChargingPlace(db, owner)
    await place.build()
    _, transaction = await told_to_stop(place)
    await goes_on(place, transaction, 1_500)
    await place.answer()
    await goes_on(place, transaction, 1_600, 1_700)
    assert await place.answer() == ["set_charging_profile"]
    payload: OcppPayload = {
        "transactionId": transaction, "meterStop": 1_700, "timestamp": place.now.isoformat(),
    }  # fmt: skip
    frame = Frame(
        station_id="S1",
        message_id="m",
        action="StopTransaction",
        payload=payload,
        received_at=place.now,
        since=place.now - timedelta(days=30),
        rules=Rules(close_after_no_frame=timedelta(hours=1)),
    )
    async with db.transaction() as connection:
        await stop_transaction.handle(connection, frame, place.now)
    expires_at = await owner.fetchval(
        "select expires_at from stations.commands where action = 'clear_charging_profile'"
    )
    assert expires_at == place.now + timedelta(hours=1)
