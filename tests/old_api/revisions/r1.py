"""R1 (2025-10-02): no schemas. Each rule is a place where its code fails, or shows nothing.

Any member may be null or of another type, unless it is named here.
"""

from typing import Any

from pydantic import Field

from tests.old_api.revisions.types import (
    ABSENT,
    Filled,
    LocationWord,
    Number,
    OldStationWord,
    PaymentStatus,
    Read,
    SessionWord,
    Text,
    Yes,
)


class Start(Read):
    """Without a session's id its live page has none."""

    success: Yes
    session_id: Filled


class Stop(Read):
    success: Yes


class Session(Read):
    """A figure as text makes the page white; any other word takes the stop button away."""

    status: SessionWord
    energy_consumed: Number
    current_cost: Number


class Status(Read):
    """Only the nested session is read."""

    success: Yes
    session: Session


class Connector(Read):
    id: Number  # null: a white page


class Station(Read):
    success: Yes
    serial_number: Filled
    location_name: Filled
    connectors: list[Connector] = Field(min_length=1)


class ListedStation(Read):
    """No list of connector types makes the list white, no flat price the map on the start page."""

    id: Text
    serial_number: Text
    status: OldStationWord
    connector_types: list[Text]
    price_per_kwh: Number


class Location(Read):
    id: Text
    name: Text
    address: Text
    status: LocationWord
    stations: list[ListedStation] = ABSENT


class Locations(Read):
    success: Yes
    locations: list[Location]


class TopUp(Read):
    """Its link to the bank is read from `payment_url` only."""

    success: Yes
    invoice_id: Filled
    payment_url: Filled


class Payment(Read):
    """Paid means status 1 and more than 0 paid; until then it waits its five minutes."""

    success: Yes
    status: PaymentStatus
    paid_amount: Number = ABSENT

    def is_paid(self) -> bool:
        return self.status == 1 and self.paid_amount is not ABSENT and self.paid_amount > 0


class Balance(Read):
    """Asked only when Supabase does not answer."""

    success: Yes
    balance: Number


ROUTES: dict[str, Any] = {
    "start": Start,
    "stop": Stop,
    "status": Status,
    "station": Station,
    "locations": Locations,
    "top_up": TopUp,
    "payment": Payment,
    "balance": Balance,
}
