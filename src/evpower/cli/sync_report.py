"""How `evpower sync` prints loops, and the facts of each side where they differ."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, is_dataclass
from typing import Final, cast

from evpower.cli.out import console, styled
from evpower.foundation.loop_rounds import LoopRounds
from evpower.foundation.money import to_text

# Hashes and a row's origin: they help a program to compare, and no operator to decide.
_INTERNAL: Final = frozenset({"id", "topic", "history", "moment", "written", "same"})
_MINOR: Final = "_minor"


def facts_text(facts: object | None, fields: Collection[str]) -> str:
    """Returns one side of a difference as text: the differing fields, or all if none is named."""
    if facts is None:
        return "nothing"
    if not is_dataclass(facts) or isinstance(facts, type):
        return str(facts)
    values: dict[str, object] = {}
    for name, value in asdict(facts).items():
        if isinstance(value, dict):  # facts with names of their own
            values |= cast("dict[str, object]", value)
        elif name not in _INTERNAL:
            values[name] = value
    chosen = {name: value for name, value in values.items() if name in fields} or values
    return ", ".join(_fact(name, value) for name, value in chosen.items())


def _fact(name: str, value: object) -> str:
    if name.endswith(_MINOR) and isinstance(value, int):
        return f"{name.removesuffix(_MINOR)} {to_text(value)}"
    words = {None: "none", True: "yes", False: "no"}
    shown = words.get(value, value) if value is None or isinstance(value, bool) else value
    return f"{name.replace('_', ' ')} {shown}"


def print_loops(loops: Sequence[LoopRounds]) -> None:
    """Prints one line if all is well; else one for each lost node, overdue loop and last error."""
    lost = {loop.node: loop.seen_s for loop in loops if loop.lost}
    seen = [loop for loop in loops if not loop.lost]
    if not seen:
        console.print("loops      none: no process runs (evpower serve)")
    else:
        late = sum(loop.overdue for loop in seen)
        state = f"{late} stand still" if late else "all finish their rounds"
        nodes = len({loop.node for loop in seen})
        console.print(f"loops      {len(seen)} on {nodes} node{'s'[: nodes - 1]}, {state}")
    for node, seen_s in lost.items():
        console.print(styled("           ", (node, "red"), f" was last seen {seen_s:.0f} s ago"))
    for loop in seen:
        if not (loop.overdue or loop.error):
            continue
        idle = f"no round finished for {loop.idle_s:.0f} s" if loop.overdue else "runs"
        error = f", last error {loop.error}" if loop.error else ""
        console.print(f"           {loop.loop} on {loop.node}: {idle}{error}")
