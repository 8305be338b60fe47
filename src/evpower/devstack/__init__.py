"""One machine, nothing installed by hand: embedded PostgreSQL and a local Supabase.

Each name is loaded when it is first used: an image without the local stack lacks its packages.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from evpower.devstack.bank.odengi import serve_odengi_bank
    from evpower.devstack.demo.calls import DemoFailed
    from evpower.devstack.demo.run import Demo
    from evpower.devstack.errors import DevstackError
    from evpower.devstack.local import LocalEvPower, Urls
    from evpower.devstack.supabase.migrations import EDITION, FILE, UNRELEASED

__all__ = [
    "EDITION",
    "FILE",
    "UNRELEASED",
    "Demo",
    "DemoFailed",
    "DevstackError",
    "LocalEvPower",
    "Urls",
    "serve_odengi_bank",
]

_MODULES: Final = {
    "Demo": "evpower.devstack.demo.run",
    "DemoFailed": "evpower.devstack.demo.calls",
    "DevstackError": "evpower.devstack.errors",
    "EDITION": "evpower.devstack.supabase.migrations",
    "FILE": "evpower.devstack.supabase.migrations",
    "LocalEvPower": "evpower.devstack.local",
    "UNRELEASED": "evpower.devstack.supabase.migrations",
    "Urls": "evpower.devstack.local",
    "serve_odengi_bank": "evpower.devstack.bank.odengi",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - each name has its own type
    if name not in _MODULES:
        raise AttributeError(name)
    return getattr(import_module(_MODULES[name]), name)
