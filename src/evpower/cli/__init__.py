"""Every command: `evpower --help`."""

from evpower.cli.app import main

__all__ = ["main"]
