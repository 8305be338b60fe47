"""The SQL of devices."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from evpower.foundation.db import Connection
from evpower.foundation.purge import count
from evpower.foundation.rows import columns, read_row
from evpower.push.model import DeviceKind, NewDevice, PushState


async def release_address(
    connection: Connection, kind: DeviceKind, address: str, client_id: UUID
) -> None:
    """Removes the device of this address from another client, with what waits for it."""
    await connection.execute(
        "delete from push.devices where kind = $1 and address = $2 and client_id <> $3",
        kind,
        address,
        client_id,
    )


async def save_device(connection: Connection, device: NewDevice, now: datetime) -> None:
    """Adds a device, or renews what is known of it."""
    keys = device.keys
    await connection.execute(
        """
        insert into push.devices
          (client_id, kind, address, host, p256dh, auth, vapid_key, platform, app_version,
           language, created_at, seen_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11)
        on conflict (kind, address) do update
           set p256dh = excluded.p256dh, auth = excluded.auth, vapid_key = excluded.vapid_key,
               platform = excluded.platform, app_version = excluded.app_version,
               language = excluded.language,
               seen_at = greatest(excluded.seen_at, push.devices.seen_at)
        """,
        device.client_id,
        device.kind,
        device.address,
        device.host,
        None if keys is None else keys.p256dh,
        None if keys is None else keys.auth,
        device.vapid_key,
        device.platform,
        device.app_version,
        device.language,
        now,
    )


async def drop_beyond(connection: Connection, client_id: UUID, most: int) -> int:
    """Removes the client's devices beyond so many, those seen longest ago. Returns how many."""
    done = await connection.execute(
        """
        delete from push.devices where id in (
          select id from push.devices where client_id = $1 order by seen_at desc, id desc offset $2)
        """,
        client_id,
        most,
    )
    return count(done)


async def remove_device(
    connection: Connection, client_id: UUID, kind: DeviceKind, address: str
) -> None:
    """Removes a client's device, with what waits for it."""
    await connection.execute(
        "delete from push.devices where client_id = $1 and kind = $2 and address = $3",
        client_id,
        kind,
        address,
    )


async def remove_unsubscribed(connection: Connection, device_id: int) -> None:
    """Removes a device that its push service does not know any more."""
    await connection.execute("delete from push.devices where id = $1", device_id)


async def remove_unused(connection: Connection, before: datetime, at_most: int) -> int:
    """Removes devices not seen since then, and those of closed clients. Returns how many."""
    done = await connection.execute(
        """
        delete from push.devices where id in (
          select d.id from push.devices d
            join identity.clients_public c on c.id = d.client_id
           where d.seen_at < $1 or c.status = 'closed' limit $2)
        """,
        before,
        at_most,
    )
    return count(done)


async def push_states(
    connection: Connection, kinds: Sequence[str], now: datetime, since: timedelta
) -> list[PushState]:
    """Returns the devices of each kind, what waits for them, and what was given up."""
    rows = await connection.fetch(
        f"""
        select {columns(PushState)} from (
          select k.kind,
                 (select count(*) from push.devices d where d.kind = k.kind) as devices,
                 count(m.number) filter (where m.given_up_at is null) as waiting,
                 min(m.created_at) filter (where m.given_up_at is null) as oldest_at,
                 count(m.given_up_at) as given_up,
                 (array_agg(m.error order by m.number desc)
                   filter (where m.error is not null))[1] as error
            from unnest($1::text[]) as k (kind)
            left join (select w.*, d.kind from push.messages w
                         join push.devices d on d.id = w.device_id
                        where w.sent_at is null
                          and (w.given_up_at is null or w.given_up_at >= $2)) m
              on m.kind = k.kind
           group by k.kind) states
        """,
        list(kinds),
        now - since,
    )
    return [read_row(PushState, row) for row in rows]
