"""Every command: `evpower --help`."""

from evpower.cli.tree import main

__all__ = ["main"]
