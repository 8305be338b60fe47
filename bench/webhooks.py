"""Signed webhooks of the sandbox provider for payments that are not confirmed yet."""

import json
import time

from bench import requests, seed
from bench.evpower_server import SANDBOX_SECRET
from bench.loadgen import Request
from bench.rig import Rig
from evpower.foundation import standard_webhooks

PATH = "/api/v1/payment/webhook/sandbox"


async def fresh_webhooks(rig: Rig, dsn: str, count: int) -> tuple[int, list[Request]]:
    """New payments, and the bank's word for each that it was paid; answers the first payment's id.

    Send them within five minutes: older ones are refused.
    """
    key, now = standard_webhooks.key_bytes(SANDBOX_SECRET), int(time.time())
    async with rig.owner(dsn) as owner:
        first = await seed.add_payments(owner, count, confirmed=False)
        rows = await owner.fetch(
            "select id, order_id, provider_ref, amount_minor from payments.payments"
            " where id >= $1 order by id",
            first,
        )
        await seed.settle_down(owner)
    ready: list[Request] = []
    for payment_id, order_id, ref, amount_minor in rows:
        event = {"order_id": order_id, "ref": ref, "status": "approved"}
        raw = json.dumps({**event, "paid": amount_minor, "currency": "KGS"}).encode()
        message_id = f"msg_{payment_id}"
        headers = {
            "webhook-id": message_id,
            "webhook-timestamp": str(now),
            "webhook-signature": standard_webhooks.sign(key, message_id, now, raw),
        }
        ready.append(requests.post(PATH, raw, headers))
    return first, ready
