"""What every sender of codes does."""

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Sms:
    """A text for one phone. `id` is the same in a repetition: the carrier sends it once."""

    id: str
    phone: str  # E.164
    text: str = field(repr=False)  # it holds the code


class SmsFailed(Exception):
    """A message that is not known to be sent; only subclasses are raised."""


class NotSent(SmsFailed):
    """The message certainly did not go out; `reason` is for operators, and names no code.

    `is_ours`: a setting or an unpaid bill, which no retry mends.
    """

    def __init__(self, reason: str, *, is_ours: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_ours = is_ours


class SentPerhaps(SmsFailed):
    """The carrier's answer was lost: the message may be on its way."""


class Sender(Protocol):
    """Sends messages."""

    @property
    def name(self) -> str:
        """Its name in the settings and metrics."""
        ...

    async def send(self, message: Sms) -> None:
        """Returns once the carrier has taken the message. Raises NotSent, SentPerhaps."""
        ...
