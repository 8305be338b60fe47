"""RemoteStopTransaction: a transaction may run under several ids."""

from collections.abc import Mapping
from typing import Any, Final

_LARGEST: Final = 2**63 - 1  # some stations send it for every transaction


def write(payload: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns a request for each id of the transaction: `transaction_id` first, then `aliases`.

    Ids that a station uses for "none" (0, -1, texts that are no number) are left out. Raises
    ValueError when no id is left.
    """
    ids = [_read(value) for value in (payload["transaction_id"], *payload.get("aliases", ()))]
    usable = dict.fromkeys(number for number in ids if number is not None)
    if not usable:
        raise ValueError("no id of the transaction can be sent")
    return [{"transactionId": number} for number in usable]


def _read(value: object) -> int | None:
    text = str(value).strip()
    if (
        isinstance(value, bool)
        or not (text.isascii() and text.isdigit())
        or len(text) > len(str(_LARGEST))
    ):
        return None
    number = int(text)
    return number if 0 < number <= _LARGEST else None
