"""Takes over the clients that waited for a status word, once an operator has said what it means."""

from evpower.foundation.db import Database
from evpower.sync.inbound import store_status_words
from evpower.sync.reconciliation.profiles import take
from evpower.sync.supabase_rpc import Rpc

_AT_ONCE = 100


async def apply_word(db: Database, rpc: Rpc, word: str) -> int:
    """Handle every client that waits for a mapped word, as Supabase has them now; returns how many.

    What is not reached (Supabase fell silent) is handled when the puller next reads that client, or
    by the next call.
    """
    handled = 0
    while True:
        async with db.connection() as connection:
            clients = await store_status_words.waiting(connection, word, _AT_ONCE)
        if not clients:
            return handled
        done = await take(db, rpc, clients)
        handled += len(done)
        if len(done) < len(clients):  # they are tried again by the puller
            return handled
