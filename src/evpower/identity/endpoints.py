"""POST /api/v1/auth/register."""

from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from evpower.foundation.bus import Bus
from evpower.foundation.clock import Clock, utc_now
from evpower.foundation.db import Database
from evpower.foundation.openapi import Responses, problem
from evpower.identity.model import CLIENT_CHANGED, Confirm
from evpower.identity.register import RegistrationRequest, register
from evpower.identity.supabase_admin import SupabaseAdmin

REGISTER_PATH: Final = "/api/v1/auth/register"


class RegisterBody(BaseModel):
    """Who wants to become a client. Unknown members are ignored."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    email: Annotated[str, Field(max_length=320, examples=["driver@example.kg"])]
    password: Annotated[SecretStr, Field(max_length=1024, description="8 to 72 bytes")]
    phone: Annotated[
        str,
        Field(
            max_length=64, examples=["+996 555 123456", "0555123456"], description="KG by default"
        ),
    ]
    name: Annotated[str | None, Field(max_length=200)] = None


class Registered(BaseModel):
    """The new client; an email or phone that another client got meanwhile is null."""

    success: bool = True
    client_id: UUID
    email: str | None
    phone: Annotated[str | None, Field(description="E.164")]
    confirmation: Annotated[
        Literal["none", "sent", "queued"],
        Field(
            description="The mail with the link that confirms the email: none is needed, Supabase "
            "sends it, or it is queued because Supabase sends no more for now (minutes to hours)"
        ),
    ]


_RESPONSES: Final[Responses] = {
    409: problem("`email_taken`, `phone_taken`"),
    413: problem("`too_large`"),
    422: problem(
        "`weak_password`, `invalid_password`, `invalid_phone`, `invalid_email`, `invalid_request`"
    ),
    429: problem("`too_many_requests`"),
    503: problem("`auth_unavailable`, `database_unavailable`, `database_busy`"),
}


def router(
    db: Database, admin: SupabaseAdmin, bus: Bus, *, confirm: Confirm, clock: Clock = utc_now
) -> APIRouter:
    """Builds the routes; `confirm` is settings.register_confirm."""
    routes = APIRouter(prefix="/api/v1/auth", tags=["auth"])

    @routes.post(
        "/register",
        status_code=201,
        responses=_RESPONSES,
        summary="Become a client",
        openapi_extra={"security": []},
    )
    async def register_client(body: RegisterBody) -> Registered:  # pyright: ignore[reportUnusedFunction]
        """Create the Supabase user and the client under one id; then sign in at Supabase.

        Where the email must be confirmed first, the same request again sends the mail again.
        """
        client, mail = await register(
            db,
            admin,
            RegistrationRequest(body.email, body.password, body.phone, body.name),
            confirm=confirm,
            clock=clock,
        )
        bus.publish(CLIENT_CHANGED, client.id)
        return Registered(
            client_id=client.id, email=client.email, phone=client.phone, confirmation=mail
        )

    return routes
