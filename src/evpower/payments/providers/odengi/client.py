"""Sends the bank's commands: signed, without cookies or redirects, in a total time."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

import structlog

from evpower.foundation.clock import Clock
from evpower.foundation.http import HttpClient, HttpError, RequestNotSent
from evpower.payments.errors import ProviderUnavailable
from evpower.payments.providers.odengi import metrics
from evpower.payments.providers.odengi.answers import BankError, NotAnAnswer, read_answer
from evpower.payments.providers.odengi.signing import (
    MktimeUnit,
    answer_hash,
    mktime,
    request_body,
)

log = structlog.get_logger()
_MAX_BYTES: Final = 1024 * 1024
_HEADERS: Final = {"Content-Type": "application/json; charset=utf-8"}


class NothingSent(ProviderUnavailable):
    """The command did not reach the bank: it has certainly done nothing."""


@dataclass(frozen=True, slots=True)
class Merchant:
    """What the bank gave the merchant, and how its host is called."""

    url: str  # of json.php
    sid: str
    password: bytes = field(repr=False)
    mktime_unit: MktimeUnit = "ms"
    is_test: bool = False


class OdengiClient:
    """The bank's API. No log holds what was answered: it has payers' names and phones."""

    def __init__(self, merchant: Merchant, http: HttpClient, clock: Clock) -> None:
        self._merchant = merchant
        self._http = http
        self._clock = clock

    async def call(
        self, command: str, data: Mapping[str, Any], *, timeout_s: float
    ) -> dict[str, Any]:
        """Returns the answer's data. Raises BankError, NothingSent, ProviderUnavailable."""
        merchant = self._merchant
        raw = request_body(
            merchant.password,
            command=command,
            sid=merchant.sid,
            time=mktime(self._clock(), merchant.mktime_unit),
            data=data,
        )
        try:
            response = await self._http.fetch(
                "payment_provider",
                "POST",
                merchant.url,
                content=raw,
                headers=_HEADERS,
                timeout_s=timeout_s,
                max_bytes=_MAX_BYTES,
            )
        except RequestNotSent as error:
            raise NothingSent(f"no connection: {error}") from error
        except HttpError as error:
            raise ProviderUnavailable(f"no answer: {error}") from error
        if response.status_code != HTTPStatus.OK:
            raise ProviderUnavailable(f"answered {response.status_code}")
        return self._read(command, response.content)

    def _read(self, command: str, raw: bytes) -> dict[str, Any]:
        try:
            data = read_answer(raw)
        except NotAnAnswer as error:
            raise ProviderUnavailable(f"the answer {error}") from error
        except BankError:
            self._judge(command, raw)
            raise
        self._judge(command, raw)
        return data

    def _judge(self, command: str, raw: bytes) -> None:
        """Counts the answer's hash; a wrong one is no reason to refuse: its rule is not certain."""
        result = answer_hash(self._merchant.password, raw)
        metrics.HASHES.labels("answer", result).inc()
        if result == "wrong":
            log.info("odengi_answer_hash_wrong", command=command)
