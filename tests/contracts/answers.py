"""Every real answer of the tests' HTTP clients is its documented model, member for member."""

import re
from typing import Any, Final

import httpx
from pydantic import BaseModel, TypeAdapter

from evpower.api.legacy import (
    charging_schemas,
    favorites,
    mobile_schemas,
    payment_schemas,
    station_schemas,
)
from evpower.charging.endpoints import HistorySession, SessionRecorded
from evpower.identity.endpoints import Registered
from evpower.identity.operator_endpoints import OperatorsClient
from evpower.payments.schemas import WebhookResponse
from evpower.push import schemas as push_schemas
from evpower.sync.webhook.endpoints import NotificationResponse
from evpower.wallet.endpoints import Balance, StatementLine

_CLIENT: Final = r"/api/v1/operator/clients"
# By method and path: the models of an object, or of the objects in a list.
MODELS: Final[tuple[tuple[str, str, tuple[type[BaseModel], ...]], ...]] = (
    (
        "POST",
        r"/api/v1/balance/topup-qr",
        (payment_schemas.TopUpBegun,),
    ),
    (
        "GET",
        r"/api/v1/payment/status/[^/]+",
        (payment_schemas.PolledPayment, payment_schemas.UnknownPayment),
    ),
    ("POST", r"/api/v1/payment/status-check/[^/]+", (payment_schemas.CheckBegun,)),
    ("POST", r"/api/v1/payment/cancel/[^/]+", (payment_schemas.CanceledPayment,)),
    (
        "POST",
        r"/api/payment/status-check/[^/]+",
        (mobile_schemas.MobileCheck, mobile_schemas.MobileRefusal),
    ),
    (
        "POST",
        r"/api/payment/cancel/[^/]+",
        (mobile_schemas.MobileCanceled, mobile_schemas.MobileRefusal),
    ),
    ("GET", r"/api/v1/payment/h2h-status/[^/]+", (payment_schemas.H2hStatus,)),
    (
        "POST",
        r"/api/charging/start",
        (mobile_schemas.MobileStarted, mobile_schemas.MobileRefusal),
    ),
    ("POST", r"/api/charging/stop", (mobile_schemas.MobileStopped, mobile_schemas.MobileRefusal)),
    (
        "GET",
        r"/api/charging/status/[^/]+",
        (mobile_schemas.MobileStatus, mobile_schemas.MobileRefusal),
    ),
    (
        "GET",
        r"/api/station/status/[^/]+",
        (station_schemas.StationPage, mobile_schemas.MobileRefusal),
    ),
    ("GET", r"/api/balance/[^/]+", (mobile_schemas.MobileBalance,)),
    (
        "POST",
        r"/api/balance/topup-qr",
        (mobile_schemas.MobileTopUp, mobile_schemas.MobileRefusal),
    ),
    (
        "GET",
        r"/api/payment/status/[^/]+",
        (mobile_schemas.MobilePayment, mobile_schemas.MobileRefusal),
    ),
    (
        "GET",
        r"/api/payment/h2h-status/[^/]+",
        (mobile_schemas.MobileH2hStatus, mobile_schemas.MobileRefusal),
    ),
    ("POST", r"/api/v1/payment/webhook/[^/]+", (WebhookResponse,)),
    ("POST", r"/api/v1/webhooks/supabase", (NotificationResponse,)),
    ("GET", r"/api/v1/balance/history/[^/]+", (StatementLine,)),
    ("GET", r"/api/v1/balance/[^/]+", (Balance,)),
    ("GET", r"/api/v1/charging/history/[^/]+", (HistorySession,)),
    ("POST", r"/api/v1/charging/start", (charging_schemas.Started,)),
    ("POST", r"/api/v1/charging/stop", (charging_schemas.Stopped,)),
    ("GET", r"/api/v1/charging/status/[^/]+", (charging_schemas.ChargingStatus,)),
    ("GET", r"/api/v1/charging/active", (charging_schemas.ActiveSession,)),
    ("GET", r"/api/v1/station/status/[^/]+", (station_schemas.StationPage,)),
    ("GET", r"/api/v1/locations", (station_schemas.Locations,)),
    ("GET", r"/api/v1/locations/[^/]+", (station_schemas.ListedLocation,)),
    (
        "POST",
        r"/api/v1/locations/[^/]+/refresh-status",
        (station_schemas.RefreshedLocation,),
    ),
    ("GET", r"/api/v1/favorites", (favorites.Favorites,)),
    ("POST", r"/api/v1/favorites", (favorites.FavoriteChanged,)),
    ("DELETE", r"/api/v1/favorites/[^/]+", (favorites.FavoriteChanged,)),
    ("POST", r"/api/v1/devices/(un)?register", (push_schemas.Done,)),
    ("GET", r"/api/v1/notifications/vapid-public-key", (push_schemas.PublicKey,)),
    ("POST", r"/api/v1/notifications/(un)?subscribe", (push_schemas.Done,)),
    ("POST", r"/api/v1/charging/sync-history", (SessionRecorded,)),
    ("POST", r"/api/v1/auth/register", (Registered,)),
    ("GET", _CLIENT, (OperatorsClient,)),
    ("POST", rf"{_CLIENT}/[^/]+/(block|unblock|close)", (OperatorsClient,)),
)


def code_of(response: httpx.Response) -> str:
    """The code of a refusal, in either form: a problem, or that of the old API."""
    body = response.json()
    return body.get("error_code") or body["error"]


def models_of(method: str, path: str) -> tuple[type[BaseModel], ...]:
    """Returns the models of a route; none for one without."""
    return next(
        (models for verb, route, models in MODELS if verb == method and re.fullmatch(route, path)),
        (),
    )


def fits(model: type[BaseModel], answer: dict[str, Any]) -> bool:
    """Whether the answer has the members of the model and no others, each of its type."""
    try:
        TypeAdapter(model).validate_python(
            {
                field.validation_alias or name: answer[name]
                for name, field in _present(model, answer)
            }
        )
    except ValueError:
        return False
    if model.model_config.get("extra") == "allow":
        return True
    return answer.keys() <= model.model_fields.keys()


def _present(model: type[BaseModel], answer: dict[str, Any]) -> list[tuple[Any, Any]]:
    return [(name, field) for name, field in model.model_fields.items() if name in answer]


async def check_answer(response: httpx.Response) -> None:
    """A hook of httpx.AsyncClient: fails the test whose answer is not as documented."""
    models = models_of(response.request.method, response.request.url.path)
    if not models or not response.is_success:
        return
    await response.aread()
    body = response.json()
    for answer in body if isinstance(body, list) else [body]:
        assert any(fits(model, answer) for model in models), f"not as documented: {answer}"


HOOKS: Final[dict[str, list[Any]]] = {"response": [check_answer]}
