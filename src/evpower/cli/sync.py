"""`evpower sync`: what Supabase lacks, whether both sides are equal, and how to heal."""

import json

import typer

from evpower import sync as synced
from evpower.cli.out import console, fail, progress
from evpower.cli.settings import load_checked, with_database
from evpower.foundation.db import Database
from evpower.foundation.http import new_http_client

sync = typer.Typer(help="Keep Supabase and EvPower equal.", no_args_is_help=True)
_JSON = typer.Option(False, "--json", help="One JSON line.")
