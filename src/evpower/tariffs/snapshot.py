"""What a session stores: its tariff and its tally, as JSON with the number of their format.

A stored snapshot is never written anew. A format that changed keeps its step to the next one here,
so that a bill of any age can be priced again.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

from evpower.foundation.errors import Invalid
from evpower.tariffs.document import write_tariff
from evpower.tariffs.model import DIMENSIONS, RoundedGroup, Snapshot, Tally, VolumeKey
from evpower.tariffs.reader import read_tariff

# From format n to n + 1: the entry n - 1.
Step = Callable[[dict[str, Any]], dict[str, Any]]
STEPS: Final[Sequence[Step]] = ()
NEWEST_FORMAT: Final = len(STEPS) + 1
_HEAD: Final = frozenset({"format", "plan", "version", "client_tariff"})


def write_snapshot(snapshot: Snapshot) -> dict[str, Any]:
    """Returns the JSON of a snapshot, in the newest format."""
    head: dict[str, Any] = {
        "format": NEWEST_FORMAT, "plan": snapshot.plan, "version": snapshot.version,
    }  # fmt: skip
    if snapshot.client_tariff is not None:
        head["client_tariff"] = snapshot.client_tariff
    return head | write_tariff(snapshot.tariff, frozen=True)


def read_snapshot(stored: Mapping[str, Any], *, steps: Sequence[Step] = STEPS) -> Snapshot:
    """Returns a snapshot of this or any older format.

    Raises Invalid("tariff_snapshot_unknown"), InvalidTariff for one that was damaged.
    """
    document = _newest(stored, steps)
    plan, version = document.get("plan"), document.get("version")
    if not isinstance(plan, str) or not isinstance(version, int):
        raise Invalid("tariff_snapshot_unknown", "the snapshot names no version of a plan")
    fields = {name: value for name, value in document.items() if name not in _HEAD}
    return Snapshot(plan, version, read_tariff(fields, frozen=True), document.get("client_tariff"))


def _newest(stored: Mapping[str, Any], steps: Sequence[Step]) -> dict[str, Any]:
    number = stored.get("format")
    if not isinstance(number, int) or not 1 <= number <= len(steps) + 1:
        newest = len(steps) + 1
        raise Invalid(
            "tariff_snapshot_unknown", f"format {number!r:.20}: this version reads 1 to {newest}"
        )
    document = dict(stored)
    for step in steps[number - 1 :]:
        document = step(document)
    return document


def write_tally(tally: Tally) -> dict[str, Any]:
    """Returns the JSON of a running session's tally."""
    return {
        "format": 1,
        "started_s": tally.started_s,
        "at_s": tally.at_s,
        "energy_mwh": tally.energy_mwh,
        "is_started": tally.is_started,
        "parked_s": tally.parked_s,
        "volumes": [[*key, volume] for key, volume in tally.volumes.items()],
        "last": [[group, *key] for group, key in tally.last.items()],
    }


def read_tally(stored: Mapping[str, Any]) -> Tally:
    """Returns a stored tally. Raises Invalid("tariff_snapshot_unknown") for another format."""
    if stored.get("format") != 1:
        raise Invalid("tariff_snapshot_unknown", "the tally is of a format this version lacks")
    return Tally(
        started_s=stored["started_s"],
        at_s=stored["at_s"],
        energy_mwh=stored["energy_mwh"],
        is_started=stored["is_started"],
        parked_s=stored.get("parked_s", 0),
        volumes={_key(name, index): volume for name, index, volume in stored["volumes"]},
        last={
            cast("RoundedGroup", group): _key(name, index) for group, name, index in stored["last"]
        },
    )


def _key(name: str, index: int) -> VolumeKey:
    assert name in DIMENSIONS, "a tally is written by write_tally"  # noqa: S101
    return name, index
