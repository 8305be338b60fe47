"""`evpower payments`: cash at a desk, refunds, and what a person must look at."""

from decimal import Decimal
from uuid import UUID

import typer

from evpower import payments as money
from evpower.cli.out import console
from evpower.cli.settings import with_database
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Database
from evpower.foundation.money import to_minor, to_text

payments = typer.Typer(help="Money in and out by hand.", no_args_is_help=True)
