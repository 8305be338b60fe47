"""What one MeterValues frame of 6 samples costs on disk."""

from typing import Final

from bench.harness import Bar, Row
from bench.rig import Rig

_ROWS: Final = 200_000
_RUNNING: Final = 500  # transactions at once
_LIMIT: Final = 140


async def meter_value_bytes(rig: Rig) -> list[Row]:
    """The meter values with their indexes, in one partition, and the raw frame beside it."""
    dsn = await rig.new_database()
    async with rig.owner(dsn) as owner:
        await owner.execute("select * from charging.keep_meter_values(current_date, 400)")
        await owner.execute("select * from ocpp.keep_frames(current_date, 90)")
        await owner.execute(
            """
            insert into charging.meter_values (received_at, at, transaction_id, session_wh, power_w,
              current_ma, voltage_mv, connector, soc_percent, body_temperature, is_parked, is_timed,
              energy_wh)
            select t, t, 100000 + n % $2, n % 60000, 57000 + n % 1000, 142000, 400000, 1,
                   20 + n % 80, 31, false, true, 1234567.5 + n
              from generate_series(1, $1::int) n,
                   lateral (select current_date + n * interval '100 ms' as t)
            """,
            _ROWS,
            _RUNNING,
        )
        await owner.execute(
            """
            insert into ocpp.frames (station_id, received_at, direction, message_type, message_id,
              action, frame)
            select 'EVP-' || lpad((n % $2)::text, 5, '0'), current_date + n * interval '100 ms',
                   'in', 2, gen_random_uuid()::text, 'MeterValues', repeat('x', 900)
              from generate_series(1, $1::int / 10) n
            """,
            _ROWS,
            _RUNNING,
        )
        values: int = await owner.fetchval(_SIZE, "charging.meter_values")
        frames: int = await owner.fetchval(_SIZE, "ocpp.frames")
    note = f"its raw frame of 900 bytes: {frames * 10 / _ROWS:,.0f} B"
    bar = Bar("<=", _LIMIT, of="value")
    return [Row("meter_value_bytes", values / _ROWS, "B/frame", "limit", _LIMIT, bar, note)]


_SIZE: Final = """
    select sum(pg_total_relation_size(inhrelid))::bigint from pg_inherits
     where inhparent = to_regclass($1)
"""
