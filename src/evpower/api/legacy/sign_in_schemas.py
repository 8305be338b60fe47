"""Requests and responses of sign-in by phone, as the shipped app sends and reads them."""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from evpower.foundation.openapi import Responses, json_response, problem

PUBLIC: Final[dict[str, Any]] = {"security": []}
_MAX_TOKEN: Final = 4096


class _Body(BaseModel):
    """What else an app sends is passed over; a refusal never quotes what was sent."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)


class CodeRequestBody(_Body):
    """Who wants a code."""

    phone: Annotated[str, Field(max_length=64, examples=["+996555123456"])]


class CodeBody(_Body):
    """The code as it was typed."""

    phone: Annotated[str, Field(max_length=64, examples=["+996555123456"])]
    code: Annotated[str, Field(max_length=16, description="Six digits", examples=["012345"])]


class RefreshBody(_Body):
    """Whose access token ends."""

    refresh_token: Annotated[SecretStr, Field(max_length=_MAX_TOKEN)]
    rotation: Annotated[
        bool, Field(description="Whether the refresh token is to be replaced; false for old apps")
    ] = False


class LogoutBody(_Body):
    """Whose sign-in ends."""

    refresh_token: Annotated[SecretStr | None, Field(max_length=_MAX_TOKEN)] = None


class SentCodeAnswer(BaseModel):
    """A code was sent, or would have been: it does not tell whether the phone is known."""

    success: Literal[True]
    phone: Annotated[str, Field(description="E.164")]
    expires_in_seconds: int
    resend_available_in_seconds: int
    message: str


class SignedInClient(BaseModel):
    """A client as its app shows it; unknown texts are empty."""

    id: str
    phone: str
    name: str
    email: str
    balance: Annotated[float, Field(description="som")]
    status: Annotated[
        Literal["active", "blocked", "inactive"],
        Field(description="inactive: the client asked for deletion, and may withdraw it"),
    ]
    created_at: str


class SignedInAdmin(BaseModel):
    """An operator."""

    id: str
    phone: str
    email: str
    name: str
    role: str
    is_active: Literal[True]
    created_at: str


class SignedInAnswer(BaseModel):
    """The tokens and whose they are."""

    success: Literal[True]
    access_token: str
    refresh_token: str
    token_type: Literal["bearer"]
    expires_in: Annotated[int, Field(description="s")]
    user: SignedInClient | SignedInAdmin
    user_type: Literal["client", "admin"]
    is_new_user: bool


class RefreshedAnswer(BaseModel):
    """The next access token; `refresh_token` only with `rotation`."""

    success: Literal[True]
    access_token: str
    token_type: Literal["bearer"]
    expires_in: int
    refresh_token: str = ""


class MeAnswer(BaseModel):
    """Who calls."""

    success: Literal[True]
    user: SignedInClient | SignedInAdmin
    user_type: Literal["client", "admin"]


class DoneAnswer(BaseModel):
    """It is done."""

    success: Literal[True]
    message: str


_OFF: Final = "`phone_sign_in_off`"
SEND_RESPONSES: Final[Responses] = {
    200: json_response("The code is sent", SentCodeAnswer),
    404: problem(_OFF),
    422: problem("`invalid_phone`, `phone_country_not_served`, `invalid_request`"),
    429: problem("`too_many_requests`: `retry_after_seconds` says when to ask again"),
    503: problem("`sms_unavailable`, `database_unavailable`, `database_busy`"),
}
VERIFY_RESPONSES: Final[Responses] = {
    200: json_response("Signed in", SignedInAnswer),
    401: problem("`invalid_code`: wrong, used, expired, or void after too many wrong ones"),
    403: problem("`client_blocked`: banned in Supabase Auth"),
    404: problem(_OFF),
    409: problem("`phone_needs_review`: an operator must decide whose the phone is"),
    422: problem("`invalid_phone`, `invalid_request`"),
    429: problem("`too_many_requests`"),
    503: problem("`auth_unavailable`, `sign_in_unavailable`, `database_unavailable`"),
}
REFRESH_RESPONSES: Final[Responses] = {
    200: json_response("The next access token", RefreshedAnswer),
    401: problem("`invalid_token`, `token_expired`: the token is bad for certain"),
    403: problem("`client_blocked`: banned in Supabase Auth"),
    404: problem(_OFF),
    422: problem("`invalid_request`"),
    503: problem("`database_unavailable`, `sign_in_unavailable`: keep the token, try again"),
}
LOGOUT_RESPONSES: Final[Responses] = {
    200: json_response("Signed out, or the token was not known", DoneAnswer),
    422: problem("`invalid_request`"),
    503: problem("`database_unavailable`"),
}
ME_RESPONSES: Final[Responses] = {
    200: json_response("Who calls", MeAnswer),
    401: problem("`missing_token`, `invalid_token`, `token_expired`"),
    403: problem("`forbidden`: a service key has no user"),
}
