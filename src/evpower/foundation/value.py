"""Immutable values that are made and copied for each meter value of a station."""

from typing import Any, Self

import msgspec


class Value(msgspec.Struct, frozen=True, gc=False):
    """A value with named members, made three times and copied five times as fast as a named tuple.

    The collector of cyclic garbage skips it: it can be in no cycle.
    """

    def replace(self, **members: Any) -> Self:  # noqa: ANN401 - of any type
        """Returns a copy with other members, as `datetime.replace`. Raises TypeError."""
        return msgspec.structs.replace(self, **members)
