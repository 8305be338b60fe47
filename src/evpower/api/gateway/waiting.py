"""Limits what waits for a caller: connections without a request, bodies that have not arrived.

Waiting costs the caller nothing, so it is limited. The oldest gives way and the newest is never
refused: an honest caller waits for milliseconds, an attacker as long as possible.
"""

from typing import Protocol


class GivesWay(Protocol):
    """Something that waits, and can be stopped."""

    def give_way(self) -> None:
        """Ends the waiting: another needs the place. It was removed already."""
        ...


class WaitingLimit:
    """Limits how many wait, in total and per group (an address, a caller)."""

    def __init__(self, *, per_group: int, total: int) -> None:
        self._per_group = per_group
        self._total = total
        self._group_of: dict[GivesWay, str] = {}  # the oldest first
        self._groups: dict[str, dict[GivesWay, None]] = {}

    def __len__(self) -> int:
        return len(self._group_of)

    def add(self, item: GivesWay, group: str) -> None:
        """Counts it. The group "" is limited by the total alone."""
        self._group_of[item] = group
        self._groups.setdefault(group, {})[item] = None
        if group and len(self._groups[group]) > self._per_group:
            self._end(next(iter(self._groups[group])))
        elif len(self._group_of) > self._total:
            self._end(next(iter(self._group_of)))

    def remove(self, item: GivesWay) -> None:
        """Stops counting it; one that does not wait is ignored."""
        group = self._group_of.pop(item, None)
        if group is not None:
            members = self._groups[group]
            del members[item]
            if not members:
                del self._groups[group]

    def _end(self, item: GivesWay) -> None:
        self.remove(item)
        item.give_way()
