"""The table of kinds: how grave an alert is, its texts, what to do, when it closes by itself."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Final, Literal, get_args

Language = Literal["en", "ru", "ky"]
Severity = Literal["grave", "warning", "info"]
# A new kind stands here, in kinds.toml and in docs/alerts.md.
AlertKind = Literal[
    "certificate_ending", "certificate_expiring", "changes_lag", "closed_client_credited",
    "drift_open",
    "energy_after_close",
    "energy_after_stop", "figure_after_decision", "forward_target_unreachable", "frame_failed",
    "loop_overdue", "outbox_lag", "outbox_parked", "partition_missing", "payment_difference",
    "payment_unreconciled", "register_above_power",
    "register_jumped", "second_socket", "session_past_rules", "session_quarantined",
    "start_after_stop", "start_while_charging", "station_free", "station_setup_failed",
    "station_unresponsive", "stations_lost_together", "stop_not_obeyed", "stop_steps_exhausted",
    "stop_unmatched", "stops_by_disconnect", "supabase_down", "version_mixed", "zero_energy_stops",
]  # fmt: skip

LANGUAGES: Final[tuple[Language, ...]] = get_args(Language)


@dataclass(frozen=True, slots=True)
class KindFacts:
    """What all alerts of a kind have in common."""

    kind: str
    severity: Severity
    title: Mapping[Language, str]
    act: Mapping[Language, str]  # what to do
    closes_after: timedelta | None  # not seen for so long; None: its cause closes it


def _read() -> Mapping[str, KindFacts]:
    table = tomllib.loads((files("evpower.alerts") / "kinds.toml").read_text("utf-8"))
    return MappingProxyType({kind: _facts(kind, row) for kind, row in table.items()})


def _facts(kind: str, row: Mapping[str, Any]) -> KindFacts:
    hours: int | None = row.get("closes_after_h")
    return KindFacts(
        kind,
        row["severity"],
        row["title"],
        row["act"],
        None if hours is None else timedelta(hours=hours),
    )


KINDS: Final = _read()
TEST: Final = KindFacts(
    "test",
    "info",
    {"en": "A test of the channels", "ru": "Проверка каналов", "ky": "Каналдарды текшерүү"},
    {"en": "Nothing.", "ru": "Ничего.", "ky": "Эч нерсе."},
    None,
)
GRAVE: Final = tuple(kind for kind, facts in KINDS.items() if facts.severity == "grave")


def facts_of(kind: str) -> KindFacts:
    """Returns the facts of a kind; one that a newer EvPower stored is a warning of its name."""
    facts = TEST if kind == TEST.kind else KINDS.get(kind)
    if facts is not None:
        return facts
    title: dict[Language, str] = dict.fromkeys(LANGUAGES, kind.replace("_", " "))
    return KindFacts(kind, "warning", title, dict.fromkeys(LANGUAGES, "docs/alerts.md"), None)
