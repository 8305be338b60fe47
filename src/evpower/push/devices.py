"""Registers and removes the devices of a client."""

from datetime import datetime
from typing import Final
from uuid import UUID

from evpower.foundation.db import Connection
from evpower.foundation.errors import Invalid
from evpower.foundation.text import flaw
from evpower.identity import lock_client
from evpower.push import store_devices, store_sessions
from evpower.push.events import events_of
from evpower.push.hosts import PushHosts
from evpower.push.keys import read_auth, read_point
from evpower.push.model import DeviceKind, NewDevice, SubscriptionKeys

MOST: Final = 20  # of one client; one more takes the place of that seen longest ago
MAX_FCM_TOKEN: Final = 512
FCM_HOST: Final = "fcm.googleapis.com"


def read_fcm_token(token: str) -> str:
    """Returns the token. Raises Invalid("fcm_token_invalid")."""
    bare = token.strip()
    if not bare or not bare.isascii() or " " in bare or flaw(bare, most=MAX_FCM_TOKEN):
        raise Invalid("fcm_token_invalid", f"a token has 1 to {MAX_FCM_TOKEN} printable characters")
    return bare


def read_subscription(
    hosts: PushHosts, endpoint: str, p256dh: str, auth: str
) -> tuple[str, str, SubscriptionKeys]:
    """Returns the endpoint, its host and its keys. Raises Invalid("subscription_invalid")."""
    checked = hosts.check(endpoint)
    point, secret = read_point(p256dh), read_auth(auth)
    if point is None or secret is None:
        raise Invalid("subscription_invalid", "the keys are no p256dh and auth in base64url")
    return checked.url, checked.host, SubscriptionKeys(point, secret)


async def register_device(connection: Connection, device: NewDevice, now: datetime) -> None:
    """Stores a device; the one of its address that another client had is removed.

    Of charges that run, what happens from now on is sent to it.
    """
    await lock_client(connection, device.client_id)  # else two at once would pass the limit
    await store_devices.release_address(connection, device.kind, device.address, device.client_id)
    await store_devices.save_device(connection, device, now)
    await store_devices.drop_beyond(connection, device.client_id, MOST)
    for facts in await store_sessions.open_sessions(connection, device.client_id):
        await store_sessions.watch(connection, facts, events_of(facts), now)


async def remove_device(
    connection: Connection, client_id: UUID, kind: DeviceKind, address: str
) -> None:
    """Removes a client's device; one that is not there is none afterwards either."""
    await store_devices.remove_device(connection, client_id, kind, address)
