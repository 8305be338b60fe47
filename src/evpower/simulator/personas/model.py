"""A persona: a station in the field as a value, what it says of itself and what it does wrong."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from evpower.simulator.faults import Faults
from evpower.simulator.model import SUBPROTOCOL, StationConfig


def _no_texts() -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, slots=True)
class Persona:
    """A station in the field. `summary` says what it does, for people."""

    name: str
    summary: str
    boot: Mapping[str, str] = field(default_factory=_no_texts)
    """Members of its BootNotification, in place of the usual ones or beside them."""
    faults: Callable[[], Faults] = Faults
    """Returns new switches: each station changes its own."""
    configuration: Mapping[str, str] = field(default_factory=_no_texts)
    """Its configuration keys that are not as usual."""
    subprotocols: tuple[str, ...] = (SUBPROTOCOL,)
    """The versions it offers, in its order."""

    def dress(self, config: StationConfig) -> StationConfig:
        """Returns the configuration of a station that says of itself what this one does."""
        return replace(
            config, boot=dict(config.boot) | dict(self.boot), subprotocols=self.subprotocols
        )
