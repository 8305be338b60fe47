"""One finding of `evpower doctor`."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

_SKEW_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One examined part; `ok` None: not examined, because a precondition failed."""

    name: str
    ok: bool | None
    detail: str
    fix: str = ""


def clock(name: str, theirs: datetime) -> Finding:
    """Compares another machine's clock with ours. Returns the finding."""
    skew = abs((datetime.now(UTC) - theirs).total_seconds())
    fix = "run NTP on both machines: tokens and webhooks are refused when clocks differ"
    return Finding(name, skew <= _SKEW_S, f"{skew:.1f} s apart", fix)
