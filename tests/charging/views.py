"""A session as its driver sees it, to be shown in tests."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson

from evpower.charging.session_view import SessionView
from evpower.tariffs import Snapshot, Tally, write_snapshot, write_tally
from tests.tariffs.examples import tariff

AT = datetime(2025, 9, 25, 10, 12, 3, 123456, tzinfo=UTC)
SNAPSHOT = orjson.dumps(
    write_snapshot(Snapshot("city", 1, tariff({"energy_per_kwh": "13.5"})))
).decode()
TALLY = orjson.dumps(
    write_tally(Tally(0, 1, 3_250_000, is_started=True, volumes={("energy", 0): 3_250_000}))
).decode()
CHARGING = SessionView(
    id=UUID("6f1c2d0e-8f57-4f5d-9c55-2f8f5a3f9a11"),
    client_id=UUID("0c1f3a58-5a0b-4b1c-8a64-6a3f0d9b7e21"),
    station_id="EVI-0080",
    connector_id=1,
    state="charging",
    status="started",
    started_by="app",
    created_at=datetime(2025, 9, 25, 9, 59, 30, tzinfo=UTC),
    started_at=datetime(2025, 9, 25, 10, tzinfo=UTC),
    ended_at=None,
    updated_at=datetime(2025, 9, 25, 10, tzinfo=UTC),
    energy_wh=3250,
    cost_minor=4388,
    revision=14,
    details={"vehicle_plate": "01KG123ABC"},
    limit_energy_wh=20_000,
    limit_amount_minor=None,
    limit_soc_percent=None,
    start_failure=None,
    start_window_ends_at=None,
    end_reason=None,
    is_estimated=False,
    station_lost_notified_at=None,
    quarantined_at=None,
    charged_minor=None,
    held_minor=27_000,
    transaction_id=812,
    transaction_text_id=None,
    meter_start_wh=Decimal(1_041_200),
    meter_stop_wh=None,
    power_w=16_250,
    soc_percent=47,
    current_ma=40_600,
    voltage_mv=400_200,
    ev_current_ma=None,
    ev_voltage_mv=None,
    body_temperature=None,
    outlet_temperature=None,
    inlet_temperature=None,
    register_wh=Decimal(1_044_450),
    last_value_at=AT,
    last_frame_at=AT,
    snapshot=SNAPSHOT,
    tally=TALLY,
)


def view(**values: Any) -> SessionView:
    return replace(CHARGING, **values)
