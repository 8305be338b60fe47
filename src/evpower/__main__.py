"""`python -m evpower`."""

from evpower.cli import main

main()
