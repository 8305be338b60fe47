"""What waits for a caller: connections without a request, bodies that have not come.

Waiting costs the caller nothing, so it is bounded. The oldest gives way and the newest is never
refused: an honest caller waits for milliseconds, an attacker for as long as it may.
"""

from typing import Protocol


class GivesWay(Protocol):
    """Something that waits, and can be told to stop."""

    def give_way(self) -> None:
        """End the waiting: another needs the place. It was removed already."""
        ...


class WaitingLimit:
    """Bounds how many wait, in all and per group (an address, a caller)."""

    def __init__(self, *, per_group: int, total: int) -> None:
        self._per_group = per_group
        self._total = total
        self._group_of: dict[GivesWay, str] = {}  # the oldest first
        self._groups: dict[str, dict[GivesWay, None]] = {}

    def __len__(self) -> int:
        return len(self._group_of)

    def add(self, item: GivesWay, group: str) -> None:
        """Let it wait. The group "" is bounded by the total alone."""
        self._group_of[item] = group
        self._groups.setdefault(group, {})[item] = None
        if group and len(self._groups[group]) > self._per_group:
            self._end(next(iter(self._groups[group])))
        elif len(self._group_of) > self._total:
            self._end(next(iter(self._group_of)))

    def remove(self, item: GivesWay) -> None:
        """Stop counting it; one that does not wait is no mistake."""
        group = self._group_of.pop(item, None)
        if group is not None:
            members = self._groups[group]
            del members[item]
            if not members:
                del self._groups[group]

    def _end(self, item: GivesWay) -> None:
        self.remove(item)
        item.give_way()
