"""Every command, as one tree."""

from evpower.cli.tree import build

app = build()
