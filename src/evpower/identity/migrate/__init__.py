"""Moving clients from the ids of another system to one id: plan, execute, confirm or revert."""

from evpower.identity.migrate.execute import How, execute
from evpower.identity.migrate.model import (
    Carry,
    Counts,
    Done,
    Planned,
    Refused,
    Reverted,
    Run,
    SourceError,
    SourceRow,
    Stopped,
    Trouble,
)
from evpower.identity.migrate.pace import Pace
from evpower.identity.migrate.people import People, Person, people_by_admin, people_by_rpc
from evpower.identity.migrate.plan import plan
from evpower.identity.migrate.reasons import reason_text
from evpower.identity.migrate.runs import confirm, decide, find_run, revert
from evpower.identity.migrate.source import FIELDS, CsvSource, Source
from evpower.identity.migrate.source_postgres import PostgresSource
from evpower.identity.migrate.status import Standing, newest, resumable, standings, troubles_of

__all__ = [
    "FIELDS",
    "Carry",
    "Counts",
    "CsvSource",
    "Done",
    "How",
    "Pace",
    "People",
    "Person",
    "Planned",
    "PostgresSource",
    "Refused",
    "Reverted",
    "Run",
    "Source",
    "SourceError",
    "SourceRow",
    "Standing",
    "Stopped",
    "Trouble",
    "confirm",
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
