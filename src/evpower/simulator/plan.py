"""What happens to simulated stations from outside, each at its second: `30 lose-network`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from evpower.foundation.clock import Sleep
from evpower.simulator.link import SimulatorError
from evpower.simulator.station import SimulatedStation

_MOST_S: Final = 30 * 86_400
_ACTS: Final[Mapping[str, Callable[[SimulatedStation], None]]] = {
    "cut-power": SimulatedStation.cut_power,
    "restore-power": SimulatedStation.restore_power,
    "reboot": SimulatedStation.reboot,
    "lose-network": SimulatedStation.lose_network,
    "restore-network": SimulatedStation.restore_network,
    "second-socket": SimulatedStation.open_second_socket,
    "plug-in": SimulatedStation.plug_in,
    "unplug": SimulatedStation.unplug,
    "stop": SimulatedStation.stop_by_card,
}
_CARD: Final = "card"  # followed by its tag
ACTS: Final = (*_ACTS, f"{_CARD} TAG")


class PlannedAct(NamedTuple):
    """An act and its second since the start; connectors are number 1."""

    at_s: float
    name: str
    tag: str = ""


def read_act(text: str) -> PlannedAct:
    """Returns an act as `30 lose-network` writes it. Raises ValueError."""
    seconds, _, rest = text.strip().partition(" ")
    name, _, tag = rest.strip().partition(" ")
    try:
        at_s = float(seconds)
    except ValueError:
        raise ValueError(f"{text!r} does not begin with seconds") from None
    if not 0 <= at_s <= _MOST_S:
        raise ValueError(f"{text!r} is not within {_MOST_S} seconds")
    if (name == _CARD) != bool(tag.strip()) or name not in {*_ACTS, _CARD}:
        raise ValueError(f"{text!r} is no act; there are: {', '.join(ACTS)}")
    return PlannedAct(at_s, name, tag.strip())


async def follow(station: SimulatedStation, plan: Sequence[PlannedAct], sleep: Sleep) -> None:
    """Does what is planned; an act that is not possible then is reported and passed over."""
    now_s = 0.0
    for act in sorted(plan, key=lambda act: act.at_s):
        await sleep(act.at_s - now_s)
        now_s = act.at_s
        try:
            if act.name == _CARD:
                if station.connectors[1].car is None:
                    station.plug_in()
                await station.start_by_card(act.tag)
            else:
                _ACTS[act.name](station)
        except SimulatorError as error:
            station.control.report("act_not_possible", f"{act.name}: {error}")
        else:
            station.control.report("act", f"{act.name} {act.tag}".strip())
