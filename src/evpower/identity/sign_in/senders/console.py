"""Writes codes to the terminal. For development: whoever reads it signs in as anyone."""

import sys
from typing import TextIO

from evpower.identity.sign_in.senders.protocol import Sms


class ConsoleSender:
    """Writes each message as one line; it is no log, and goes nowhere else."""

    name = "console"

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out

    async def send(self, message: Sms) -> None:
        """Writes the message."""
        out = self._out or sys.stderr
        out.write(f"SMS to {message.phone}: {message.text}\n")
        out.flush()
