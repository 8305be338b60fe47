"""One thing of EvPower's as rows of an older backend's tables: what the relay sends."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

# What changes with time alone, and is no difference when both sides are compared.
_VOLATILE: Final = frozenset({"is_available", "last_heartbeat_at", "updated_at"})
Write = dict[str, Any]  # as evpower.write_row takes it


@dataclass(frozen=True, slots=True)
class OldRow:
    """A location, station, tariff plan, payment or transaction with the writes that make it."""

    topic: str
    key: UUID
    id: str
    writes: Sequence[Write]
    of_closed_client: bool = False
    about: str = ""  # of a transaction: the payment or session that caused it

    @property
    def title(self) -> str:
        """Returns what an operator knows it by: the invoice, or the client and its transaction."""
        if self.topic != "transaction":
            return f"{self.topic} {self.id}"
        client, _, version = self.id.partition(":")
        return f"transaction {version} of client {client}{self.about and f', {self.about}'}"

    def payload(self, number: int, *, force: bool = False) -> dict[str, object]:
        """Returns the entry of evpower_apply; `number` orders it among all writes of its key."""
        return {
            "topic": self.topic,
            "key": str(self.key),
            "number": number,
            "force": force,
            "writes": self.writes,
        }

    def compared(self) -> dict[str, object]:
        """Returns the entry of evpower_compare_rows; a closed client's rows may be gone there."""
        writes = [
            write
            | {
                "always": {
                    name: value
                    for name, value in write["always"].items()
                    if name not in _VOLATILE and name not in write.get("volatile", ())
                }
            }
            for write in (() if self.of_closed_client else self.writes)
            if not write.get("may_be_late")
        ]
        return {"topic": self.topic, "key": str(self.key), "writes": writes}
