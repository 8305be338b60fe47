"""Moving clients from the ids of another system to one id: plan, execute, confirm or revert."""

from evpower.client_migration.execute import ExecuteOptions, execute
from evpower.client_migration.model import (
    CreditBalance,
    PlanResult,
    RevertResult,
    Run,
    RunStopped,
    RunSummary,
    SourceError,
    Trouble,
    TroubleCount,
)
from evpower.client_migration.opening_balances import OpeningBalances, import_opening_balances
from evpower.client_migration.plan import plan
from evpower.client_migration.rate_limiter import RateLimiter
from evpower.client_migration.reasons import reason_text
from evpower.client_migration.remote_users import KnownUser, users_by_admin, users_by_rpc
from evpower.client_migration.runs import confirm, decide, revert
from evpower.client_migration.source import FIELDS, CsvSource, RowSource
from evpower.client_migration.source_postgres import PostgresSource
from evpower.client_migration.status import (
    RunStatus,
    count_troubles,
    newest,
    resumable,
    run_statuses,
    troubles_of,
)

__all__ = [
    "FIELDS",
    "CreditBalance",
    "CsvSource",
    "ExecuteOptions",
    "KnownUser",
    "OpeningBalances",
    "PlanResult",
    "PostgresSource",
    "RateLimiter",
    "RevertResult",
    "RowSource",
    "Run",
    "RunStatus",
    "RunStopped",
    "RunSummary",
    "SourceError",
    "Trouble",
    "TroubleCount",
    "confirm",
    "count_troubles",
    "decide",
    "execute",
    "import_opening_balances",
    "newest",
    "plan",
    "reason_text",
    "resumable",
    "revert",
    "run_statuses",
    "troubles_of",
    "users_by_admin",
    "users_by_rpc",
]
