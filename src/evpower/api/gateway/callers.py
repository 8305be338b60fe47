"""What the gateway knows of a caller."""

from collections.abc import Awaitable, Callable
from typing import Final, Protocol
from uuid import UUID

from starlette.requests import Request

from evpower.api.replay import KeyOwner

_STRANGERS_WAITING: Final = 8  # repeats of one address, each in a place of those for strangers


class Caller(Protocol):
    """The members of a principal that the gateway reads."""

    @property
    def kind(self) -> str:
        """client, operator or service."""
        ...

    @property
    def client_id(self) -> UUID | None:
        """The token's client; None for a service."""
        ...

    @property
    def user_id(self) -> UUID | None:
        """The Supabase user of a client or an operator."""
        ...

    @property
    def name(self) -> str:
        """The service's or operator's name."""
        ...

    @property
    def role(self) -> str | None:
        """The operator's role; None for others."""
        ...


# Returns the principal of a verified credential, stored in request.state.principal.
# Raises EvPowerError.
Identify = Callable[[Request], Awaitable[Caller]]


def name_of(caller: Caller) -> str:
    """Returns the name under which a caller's requests are counted."""
    return f"{caller.kind}:{caller.client_id or caller.user_id or caller.name}"


def key_owner(caller: Caller | None, address: str) -> KeyOwner:
    """Returns whose Idempotency-Keys these are.

    A user's keys are the same as a driver and as an operator: a process may hold a new operator
    for a driver, and a repeat must find what was done then.
    """
    if caller is None:
        return KeyOwner(f"address:{address}", None, _STRANGERS_WAITING)
    user = caller.client_id or caller.user_id
    return KeyOwner(name_of(caller) if user is None else f"client:{user}", caller.role)
