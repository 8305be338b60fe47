"""What one transaction costs on disk."""

from bench import seed
from bench.harness import Bar, Row
from bench.rig import Rig

_CLIENTS = 10_000
_ROWS = 100_000


async def row_bytes(rig: Rig) -> list[Row]:
    """The table with its indexes after 100,000 top-ups of random clients."""
    dsn = await rig.new_database()
    async with rig.owner(dsn) as owner:
        await seed.add_clients(owner, _CLIENTS)
        first = await seed.add_payments(owner, _ROWS, confirmed=True)
        await seed.credit_all(owner, first, _ROWS)
        if await seed.credited(owner, first, _ROWS) != _ROWS:
            raise RuntimeError("not every payment was credited")
        total: int = await owner.fetchval("select pg_total_relation_size('wallet.transactions')")
        heap: int = await owner.fetchval("select pg_relation_size('wallet.transactions')")
    return [
        Row(
            "row_bytes",
            total / _ROWS,
            "B/transaction",
            "the table without its indexes",
            heap / _ROWS,
            Bar("<=", 300, of="value"),
        )
    ]
