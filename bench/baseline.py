# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
"""The baseline implementation: the requirements' snippets taken literally.

It makes a new Supabase client in every call.

Its tables are copies (`baseline_*`): EvPower's migration refuses balances written by hand.
"""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import asyncpg
from fastapi import Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel

from supabase import AsyncClient, acreate_client

SUPABASE_URL = os.environ.get("BASELINE_SUPABASE_URL", "")
SUPABASE_SERVICE_KEY = os.environ.get("BASELINE_SUPABASE_KEY", "")
EVPOWER_DSN = os.environ.get("BASELINE_DSN", "")

# In EvPower's database: the baseline implementation's own balance.
EVPOWER_TABLES = (
    "create table baseline_clients"
    " (id uuid primary key, balance numeric(12, 2) not null default 0);"
    " grant all on baseline_clients to evpower_app"  # what the login acts as in this database
)

# In Supabase: the shape the snippets write and the apps read.
SUPABASE_TABLES = """
create table public.baseline_clients (
  id uuid primary key, email text, phone text, name text, balance numeric(12, 2) not null default 0,
  created_at timestamptz not null default now(), updated_at timestamptz not null default now());
create table public.baseline_transactions (
  id uuid primary key default gen_random_uuid(), client_id uuid not null, type text not null,
  amount numeric(12, 2) not null, balance_before numeric(12, 2) not null,
  balance_after numeric(12, 2) not null, created_at timestamptz not null default now());
create index on public.baseline_transactions (client_id, created_at desc);
create table public.baseline_charging_sessions (
  id uuid primary key, client_id uuid not null, station_id text, connector_id int,
  start_time timestamptz, end_time timestamptz, energy_consumed numeric(12, 3),
  total_cost numeric(12, 2), status text, created_at timestamptz not null default now());
create index on public.baseline_charging_sessions (client_id, created_at desc);
grant all
  on public.baseline_clients, public.baseline_transactions, public.baseline_charging_sessions
  to service_role;
notify pgrst, 'reload schema';
"""


class TopUp(BaseModel):
    """The webhook of the baseline implementation's provider."""

    client_id: str
    amount: float


@asynccontextmanager
async def _lifespan(_: FastAPI) -> AsyncGenerator[None]:
    global pool  # noqa: PLW0603 - taken literally
    pool = await asyncpg.create_pool(EVPOWER_DSN, min_size=16, max_size=16)
    yield
    await pool.close()


Json = Any  # what PostgREST answered
pool: Any = None
app = FastAPI(lifespan=_lifespan)


async def _create_client() -> AsyncClient:
    return await acreate_client(SUPABASE_URL, SUPABASE_SERVICE_KEY)


async def verify_supabase_token(authorization: Annotated[str, Header()]) -> str:
    """Requirement 4."""
    token = authorization.replace("Bearer ", "")
    supabase = await _create_client()
    user = await supabase.auth.get_user(token)
    if not user:
        raise HTTPException(401, "Invalid token")
    return str(user.user.id)


async def update_balance(
    client_id: str, new_balance: float, old_balance: float, transaction_type: str
) -> None:
    """Requirement 1, its three steps."""
    await pool.execute(
        "update baseline_clients set balance = $2::float8 where id = $1", client_id, new_balance
    )
    supabase = await _create_client()
    await (
        supabase.table("baseline_clients")
        .update({"balance": new_balance, "updated_at": datetime.now(UTC).isoformat()})
        .eq("id", client_id)
        .execute()
    )
    await (
        supabase.table("baseline_transactions")
        .insert(
            {
                "client_id": client_id,
                "type": transaction_type,
                "amount": new_balance - old_balance,
                "balance_before": old_balance,
                "balance_after": new_balance,
                "created_at": datetime.now(UTC).isoformat(),
            }
        )
        .execute()
    )


@app.get("/health")
async def health() -> dict[str, bool]:
    """Say that it runs."""
    return {"ok": True}


async def _top_up(data: TopUp) -> dict[str, Any]:
    old = float(
        await pool.fetchval("select balance from baseline_clients where id = $1", data.client_id)
    )
    await update_balance(data.client_id, old + data.amount, old, "topup")
    return {"success": True, "balance": old + data.amount}


@app.post("/topup")
async def top_up(data: TopUp, _: Annotated[str, Depends(verify_supabase_token)]) -> dict[str, Any]:
    """A confirmed top-up behind requirement 4's middleware."""
    return await _top_up(data)


@app.post("/topup-unchecked")
async def top_up_unchecked(data: TopUp) -> dict[str, Any]:
    """The same without asking who calls."""
    return await _top_up(data)


async def _history(table: str, client_id: str, limit: int) -> Json:
    supabase = await _create_client()
    result = await (
        supabase.table(table)
        .select("*")
        .eq("client_id", client_id)
        .order("created_at", desc=True)
        .limit(limit)
        .execute()
    )
    return result.data


@app.get("/api/v1/balance/history/{client_id}")
async def get_transaction_history(
    client_id: str, _: Annotated[str, Depends(verify_supabase_token)], limit: int = 50
) -> Json:
    """Requirement 5."""
    return await _history("baseline_transactions", client_id, limit)


@app.get("/api/v1/charging/history/{client_id}")
async def get_charging_history(
    client_id: str, _: Annotated[str, Depends(verify_supabase_token)], limit: int = 50
) -> Json:
    """Requirement 5."""
    return await _history("baseline_charging_sessions", client_id, limit)


@app.get("/api/v1/balance/{client_id}")
async def get_balance(client_id: str, _: Annotated[str, Depends(verify_supabase_token)]) -> Json:
    """The old endpoint over the same table."""
    supabase = await _create_client()
    result = (
        await supabase.table("baseline_clients").select("*").eq("id", client_id).single().execute()
    )
    row: Json = result.data
    return {"client_id": client_id, "balance": row["balance"], "currency": "KGS"}
