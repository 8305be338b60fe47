"""Messages to drivers whose app is closed: devices, what follows from sessions, Web Push."""

from evpower.push.keys import make_private_key, push_problems, push_settings, read_private_key
from evpower.push.model import DeviceKind, PushState
from evpower.push.module import module
from evpower.push.store_devices import push_states

__all__ = [
    "DeviceKind",
    "PushState",
    "make_private_key",
    "module",
    "push_problems",
    "push_settings",
    "push_states",
    "read_private_key",
]
