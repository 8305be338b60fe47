"""Moving clients from the ids of another system to one id: plan, execute, confirm or revert."""

from evpower.client_migration.execute import How, execute
from evpower.client_migration.model import (
    Carry,
    Done,
    PlanCounts,
    Planned,
    Reverted,
    RowRefused,
    Run,
    SourceError,
    SourceRow,
    Stopped,
    Trouble,
    TroubleCount,
)
from evpower.client_migration.opening_balances import Adopted, Left, adopt
from evpower.client_migration.plan import plan
from evpower.client_migration.rate_limiter import RateLimiter
from evpower.client_migration.reasons import reason_text
from evpower.client_migration.remote_users import (
    KnownUser,
    KnownUsers,
    people_by_admin,
    people_by_rpc,
)
from evpower.client_migration.runs import confirm, decide, find_run, revert
from evpower.client_migration.source import FIELDS, CsvSource, RowSource
from evpower.client_migration.source_postgres import PostgresSource
from evpower.client_migration.status import (
    Standing,
    count_troubles,
    newest,
    resumable,
    standings,
    troubles_of,
)

__all__ = [
    "FIELDS",
    "Adopted",
    "Carry",
    "CsvSource",
    "Done",
    "How",
    "KnownUser",
    "KnownUsers",
    "Left",
    "PlanCounts",
    "Planned",
    "PostgresSource",
    "RateLimiter",
    "Reverted",
    "RowRefused",
    "RowSource",
    "Run",
    "SourceError",
    "SourceRow",
    "Standing",
    "Stopped",
    "Trouble",
    "TroubleCount",
    "adopt",
    "confirm",
    "count_troubles",
    "decide",
    "execute",
    "find_run",
    "newest",
    "people_by_admin",
    "people_by_rpc",
    "plan",
    "reason_text",
    "resumable",
    "revert",
    "standings",
    "troubles_of",
]
