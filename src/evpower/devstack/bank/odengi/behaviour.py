"""How the simulated bank behaves: its forms of answers, its clock, its faults. Set by /control."""

from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, cast

_CHOICES: Final = {
    "status": ("word", "number", "both", "contradictory"),
    "shape": ("payments", "both"),
    "amount": ("text", "number"),
    "elqr": ("right", "wrong_amount", "editable", "damaged", "missing"),
    "links": ("all", "none"),
    "same_order": ("same", "new", "refused"),
    "notices": ("sent", "none"),
    "answer_hash": ("right", "wrong", "missing"),
    "void": ("in_place", "new_attempt"),
}
_MODES: Final = (
    "error",  # 500 before anything is done
    "refused",  # an error of the bank's own, `code`
    "lost",  # done, and answered 502
    "slow",  # done and answered after `slow_s`
    "slow_bytes",  # done, and answered one byte at a time, `slow_s` apart
    "redirect",  # a redirect to another host
    "page",  # a page in HTML, as a proxy answers
    "busy",  # 429
)
_MAX_TIMES: Final = 1_000_000
_MAX_S: Final = 86_400.0


class BadControl(ValueError):
    """A control call that makes no sense; says what is wrong."""


@dataclass(slots=True)
class CommandFault:
    """The fault of the next `times` calls of a command; "*" is any command."""

    mode: str
    times: int
    slow_s: float
    code: int


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Forms of the bank's answers, each seen at a real merchant."""

    status: str = "word"  # of an attempt
    shape: str = "payments"  # with attempts: without or with the bill's own status
    amount: str = "text"
    commission: int = 0  # tyiyn that the payer pays on top: amount_old is the bill's
    amount_old_absent: bool = False  # without a commission: amount_old is "0"
    elqr: str = "right"
    links: str = "all"
    same_order: str = "same"  # what a second bill of an order is
    notices: str = "sent"
    notice_repeat: int = 1
    answer_hash: str = "right"
    void: str = "in_place"  # a return changes its attempt, or is an attempt of its own
    clock_ahead_s: float = 0.0
    faults: dict[str, CommandFault] = field(default_factory=dict[str, CommandFault])

    def changed(self, body: dict[str, Any]) -> "Behaviour":
        """Returns it with the members of a control call. Raises BadControl."""
        known = {member.name: member for member in fields(Behaviour)}
        changes: dict[str, Any] = {}
        for name, value in body.items():
            if name == "faults":
                changes[name] = _faults(value)
            elif name in _CHOICES and value in _CHOICES[name]:
                changes[name] = value
            elif name in known and name not in _CHOICES:
                default = known[name].default
                if isinstance(value, bool) is not isinstance(default, bool):
                    raise BadControl(f"{name} has another type")
                if not isinstance(value, int | float) or abs(value) > _MAX_TIMES:
                    raise BadControl(f"{name} must be a number")
                changes[name] = type(cast("Any", default))(value)
            else:
                raise BadControl(f"{name} has no such value")
        return replace(self, **changes)

    def fault(self, command: str) -> CommandFault | None:
        """Returns the fault of this call, and counts it."""
        armed = self.faults.get(command) or self.faults.get("*")
        if armed is None or armed.times <= 0:
            return None
        armed.times -= 1
        return armed


def _faults(value: object) -> dict[str, CommandFault]:
    if not isinstance(value, dict):
        raise BadControl("faults must be an object")
    faults: dict[str, CommandFault] = {}
    for command, how in cast("dict[str, Any]", value).items():
        if not isinstance(how, dict):
            raise BadControl(f"the fault of {command} must be an object")
        given = cast("dict[str, Any]", how)
        mode, times = given.get("mode"), given.get("times", 1)
        slow_s, code = given.get("slow_s", 0.0), given.get("code", 99)
        if (
            mode not in _MODES
            or not isinstance(times, int)
            or not 0 <= times <= _MAX_TIMES
            or not isinstance(slow_s, int | float)
            or not 0 <= slow_s <= _MAX_S
            or not isinstance(code, int)
        ):
            raise BadControl(f"the fault of {command} has no such value")
        faults[command] = CommandFault(mode, times, float(slow_s), code)
    return faults
