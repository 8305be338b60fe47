"""Settings for commands: read from the environment and .env, checked before anything starts."""

import asyncio
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Final, TypeVar

import structlog
from pydantic import ValidationError
from pydantic_settings import DotEnvSettingsSource

from evpower.cli.out import fail
from evpower.cli.renamed_settings import RENAMED_SETTINGS
from evpower.config import Settings, problems, unknown
from evpower.foundation.db import Database
from evpower.foundation.errors import EvPowerError
from evpower.foundation.http import HttpClient

T = TypeVar("T")
MAX_NUMBER: Final = 2**63 - 1  # the largest bigint of the database


def load() -> Settings:
    """Reads them; an invalid value ends the command with its name."""
    try:
        return Settings()
    except ValidationError as error:
        lines = [
            f"EVPOWER_{'_'.join(str(part) for part in item['loc']).upper()}: {item['msg']}"
            for item in error.errors()
        ]
        fail("the settings make no sense:\n  " + "\n  ".join(lines))


def all_problems(settings: Settings) -> list[str]:
    """Returns all that keeps a process from starting, each with its fix."""
    from evpower import alerts, payments, push

    wrong = [
        *problems(settings),
        *alerts.channel_problems(settings),
        *push.push_problems(settings),
        *payments.odengi_problems(settings),
    ]
    if problem := payments.provider_problem(settings):
        wrong.append(problem)
    try:
        payments.parse_columns(settings.payment_report_columns)
    except ValueError as error:
        wrong.append(f"EVPOWER_PAYMENT_REPORT_COLUMNS: {error}")
    file = DotEnvSettingsSource(Settings, env_file=".env").env_vars
    names = {name.upper() for name in (*os.environ, *file)}
    wrong += [
        f"{name} is {RENAMED_SETTINGS[name]} now: rename it"
        for name in sorted(names & RENAMED_SETTINGS.keys())
    ]
    if settings.env == "production":
        wrong += unknown(names - RENAMED_SETTINGS.keys())
    return wrong


def load_checked() -> Settings:
    """Reads them, and ends the command when any is missing or unsafe; lists all at once."""
    settings = load()
    if wrong := all_problems(settings):
        fail(
            "the settings are not complete:\n  - " + "\n  - ".join(wrong),
            "See .env.example; on one machine for development use `evpower dev`.",
        )
    return settings


def outgoing_http(settings: Settings) -> HttpClient:
    """Returns the client for all outgoing calls, or ends with a clear line."""
    try:
        return HttpClient(
            supabase_ca=settings.supabase_ca, proxy=settings.http_proxy.get_secret_value()
        )
    except ValueError as error:
        fail(str(error), "evpower doctor tries it.")


def database_url(settings: Settings) -> str:
    """Returns the database's address, or ends with a clear line."""
    url = settings.database_url.get_secret_value()
    if not url:
        fail("EVPOWER_DATABASE_URL is not set", "postgres://user:pass@host:5432/evpower")
    return url


def with_database(work: Callable[[Database], Awaitable[T]], *, role: str | None = None) -> T:
    """Runs `work` on the database; an expected error becomes one line and exit 1.

    `role` None acts as the login role (an administrator at a terminal).
    """
    settings = load()

    async def run() -> T:
        database = await Database.open(database_url(settings), size=4, role=role)
        try:
            return await work(database)
        finally:
            await database.close()

    try:
        with logs_to_stderr():
            return asyncio.run(run())
    except EvPowerError as error:
        fail(error.for_operators)


@contextmanager
def logs_to_stderr(level: int = logging.WARNING) -> Generator[None]:
    """Sends warnings to stderr for a block: stdout is for an operator or a program."""
    before = structlog.get_config()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    try:
        yield
    finally:
        structlog.configure(**before)
