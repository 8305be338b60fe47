"""The requests and answers of the routes; what else an app sends is passed over."""

from typing import Annotated, Literal, cast

from pydantic import BaseModel, Field, model_validator

from evpower.push.hosts import MAX_ENDPOINT
from evpower.push.model import Platform

_MAX_TOKEN = 4096  # what is refused as too long gets a code of its own


class PhoneBody(BaseModel):
    """A phone."""

    fcm_token: Annotated[str, Field(min_length=1, max_length=_MAX_TOKEN)]
    platform: Platform
    app_version: Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[!-~]+$")] | None = (
        None
    )


class PhoneTokenBody(BaseModel):
    """A phone."""

    fcm_token: Annotated[str, Field(min_length=1, max_length=_MAX_TOKEN)]


class KeysBody(BaseModel):
    """What a browser made for the subscription, base64url."""

    p256dh: Annotated[str, Field(min_length=1, max_length=200)]
    auth: Annotated[str, Field(min_length=1, max_length=200)]


class _Wrapped(BaseModel):
    @model_validator(mode="before")
    @classmethod
    def _unwrap(cls, value: object) -> object:
        """Takes the subscription out of `{"subscription": {...}}`."""
        if not isinstance(value, dict):
            return value
        members = cast("dict[str, object]", value)
        inner = members.get("subscription")
        return cast("object", inner) if isinstance(inner, dict) else members


class SubscribeBody(_Wrapped):
    """A browser's PushSubscription as JSON, also under `subscription`."""

    endpoint: Annotated[str, Field(min_length=1, max_length=MAX_ENDPOINT)]
    keys: KeysBody


class UnsubscribeBody(_Wrapped):
    """The endpoint of a subscription, also under `subscription`."""

    endpoint: Annotated[str, Field(min_length=1, max_length=MAX_ENDPOINT)]


class Done(BaseModel):
    """It is as it was asked to be."""

    success: Literal[True]
    message: str


class PublicKey(BaseModel):
    """What an app gives its browser as applicationServerKey."""

    success: Literal[True]
    public_key: Annotated[str, Field(description="VAPID, base64url")]
