"""The client of Supabase Auth: creates, reads and deletes users, checks passwords and tokens."""

from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from time import perf_counter
from typing import Final, cast
from uuid import UUID

import orjson
import structlog
from pydantic import SecretStr

from evpower.foundation.clock import utc_now
from evpower.foundation.errors import Unavailable
from evpower.foundation.http import (
    HttpClient,
    HttpError,
    HttpResponse,
    OutcomeUnknown,
    RequestNotSent,
)
from evpower.foundation.json_reader import NotJson, read_object
from evpower.identity import metrics
from evpower.identity.contact import phone_from_auth
from evpower.identity.errors import AuthBusy, AuthDenied, AuthOutcomeUnknown, AuthRefused
from evpower.identity.model import AuthUser, Contact, ImportedUser, NewUser
from evpower.identity.profile import profile_of
from evpower.identity.verification import moment, trusted_contacts

_TIMEOUT_S: Final = 8.0  # hashing a password takes Auth a while
_LONG_WAIT_S: Final = 30
_NOT_FOUND: Final = 404
_TOO_MANY: Final = 429
_SERVER_ERROR: Final = 500
_OUR_FAULT: Final = {401, 403, 408, 429}  # a bad key or too many calls: not the user's fault

_DENIED: Final = {401, 403}
_FOREVER: Final = datetime.max.replace(tzinfo=UTC)

_log: Final = structlog.get_logger()


class SupabaseAdmin:
    """A client of GoTrue over the shared HTTP client."""

    def __init__(
        self,
        *,
        http: HttpClient,
        url: str,
        secret_key: SecretStr,
        publishable_key: str = "",
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        """`url` is the project's; sb_secret_... and legacy service_role keys work.

        `timeout_s` is the total time of a call, including a retry.
        """
        self._timeout_s = timeout_s
        self._http = http
        self._base = f"{url.rstrip('/')}/auth/v1"
        secret = secret_key.get_secret_value()
        self._app = {"apikey": publishable_key or secret}
        self._admin = {"apikey": secret}
        # Opaque keys are no JWTs and belong in apikey alone; the legacy service_role key is one.
        if secret.count(".") == 2:  # noqa: PLR2004 - the dots of a JWT
            self._admin["Authorization"] = f"Bearer {secret}"

    async def create_user(self, user: NewUser) -> AuthUser:
        """Creates a user under EvPower's id.

        Raises AuthRefused (email_exists, weak_password, validation_failed, ...), AuthOutcomeUnknown
        if it may exist now (GoTrue also responds with 500 for an id in use), Unavailable.
        """
        body: dict[str, object] = {
            "id": str(user.id),
            "email": user.email,
            "password": user.password.get_secret_value(),
            "email_confirm": user.email_confirm,
            "user_metadata": {
                key: value for key, value in (("phone", user.phone), ("name", user.name)) if value
            },
            "app_metadata": dict(user.app_metadata),
        }
        response = await self._send("create_user", "POST", "/admin/users", self._admin, body)
        return _user(_json(response))

    async def import_user(self, user: ImportedUser) -> AuthUser:
        """Creates a user of another system under EvPower's id; without a hash it has no password.

        Raises as create_user; AuthRefused("validation_failed") also for an unreadable hash.
        """
        metadata = {"phone": user.claimed_phone, "name": user.name}
        body: dict[str, object] = {
            "id": str(user.id),
            "user_metadata": {key: value for key, value in metadata.items() if value},
            "app_metadata": dict(user.app_metadata),
        }
        if user.email is not None:
            body |= {"email": user.email, "email_confirm": user.email_confirm}
        if user.phone is not None:
            body |= {"phone": user.phone, "phone_confirm": user.phone_confirm}
        if user.password_hash is not None:
            body["password_hash"] = user.password_hash
        response = await self._send("import_user", "POST", "/admin/users", self._admin, body)
        return _user(_json(response))

    async def confirm_phone(self, user_id: UUID, phone: str) -> AuthUser:
        """Gives a user a phone that was verified elsewhere. Raises AuthRefused, Unavailable."""
        body: dict[str, object] = {"phone": phone.removeprefix("+"), "phone_confirm": True}
        path = f"/admin/users/{user_id}"
        return _user(_json(await self._send("confirm_phone", "PUT", path, self._admin, body)))

    async def delete_user(self, user_id: UUID) -> bool:
        """Deletes a user for good; False: there is none. Raises Unavailable."""
        try:
            await self._send("delete_user", "DELETE", f"/admin/users/{user_id}", self._admin)
        except AuthRefused as refusal:
            if refusal.status == _NOT_FOUND:
                return False
            raise Unavailable("auth_unavailable", f"Supabase Auth answered {refusal}") from refusal
        return True

    async def list_users(self, page: int, per_page: int) -> list[Mapping[str, object]]:
        """Returns one page of all users as Auth's JSON, newest first; empty after the last page."""
        path = f"/admin/users?page={page}&per_page={per_page}"
        try:
            response = await self._send("list_users", "GET", path, self._admin)
        except AuthRefused as refusal:
            raise Unavailable("auth_unavailable", f"Supabase Auth answered {refusal}") from refusal
        users = _json(response).get("users")
        if not isinstance(users, list):
            raise AuthOutcomeUnknown("auth_unavailable", "Supabase Auth answered nonsense")
        return cast("list[Mapping[str, object]]", users)

    async def get_user(self, user_id: UUID) -> AuthUser | None:
        """Reads a user; None: there is none, or it was deleted. Raises Unavailable."""
        try:
            response = await self._send("get_user", "GET", f"/admin/users/{user_id}", self._admin)
        except AuthRefused as refusal:
            if refusal.status == _NOT_FOUND:
                return None
            raise Unavailable("auth_unavailable", f"Supabase Auth answered {refusal}") from refusal
        record = _json(response)
        return None if record.get("deleted_at") else _user(record)

    async def check_password(self, user_id: UUID, email: str, password: SecretStr) -> bool:
        """Returns whether this password signs in as exactly this user. Raises Unavailable."""
        body: dict[str, object] = {"email": email, "password": password.get_secret_value()}
        try:
            path = "/token?grant_type=password"
            response = await self._send("check_password", "POST", path, self._app, body)
        except AuthRefused as refusal:
            # GoTrue responds with "not confirmed" only if the password is right; the caller has
            # checked that the email is this user's.
            return refusal.code == "email_not_confirmed"
        user = _json(response).get("user")
        return isinstance(user, dict) and cast("Mapping[str, object]", user).get("id") == str(
            user_id
        )

    async def sign_in(self, email: str, password: SecretStr) -> str | None:
        """Returns a new access token; None: Auth refuses the sign-in. Raises Unavailable."""
        body: dict[str, object] = {"email": email, "password": password.get_secret_value()}
        try:
            path = "/token?grant_type=password"
            response = await self._send("sign_in", "POST", path, self._app, body)
        except AuthRefused:
            return None
        token = _json(response).get("access_token")
        return token if isinstance(token, str) else None

    async def user_of(self, token: str) -> AuthUser | None:
        """Returns the user of a token; None: Supabase does not accept it. Raises Unavailable."""
        headers = {**self._app, "Authorization": f"Bearer {token}"}
        try:
            response = await self._send("introspect", "GET", "/user", headers, is_user_token=True)
        except AuthRefused:
            return None
        return _user(_json(response))

    async def send_confirmation(self, email: str) -> None:
        """Makes Supabase mail the confirmation link. Raises AuthRefused, Unavailable."""
        body: dict[str, object] = {"type": "signup", "email": email}
        await self._send("send_confirmation", "POST", "/resend", self._app, body)

    async def _send(
        self,
        call: str,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: Mapping[str, object] | None = None,
        *,
        is_user_token: bool = False,
    ) -> HttpResponse:
        try:
            content = None if body is None else orjson.dumps(body)
        except TypeError as error:  # a lone surrogate: nothing was sent
            raise AuthRefused("not_text", HTTPStatus.UNPROCESSABLE_ENTITY) from error
        all_headers = {**headers, "Content-Type": "application/json"} if content else dict(headers)
        started = perf_counter()
        status = "none"
        try:
            response = await self._try_twice(method, self._base + path, all_headers, content)
            status = str(response.status_code)
        except RequestNotSent as error:
            raise Unavailable(
                "auth_unavailable", "Supabase Auth can't be reached", retry_after_s=5
            ) from error
        except HttpError as error:
            raise AuthOutcomeUnknown(
                "auth_unavailable", "Supabase Auth did not answer", retry_after_s=5
            ) from error
        finally:
            metrics.AUTH_CALLS.labels(call, status).observe(perf_counter() - started)
        return _raise_if_refused(call, response, is_user_token=is_user_token)

    async def _try_twice(
        self, method: str, url: str, headers: dict[str, str], content: bytes | None
    ) -> HttpResponse:
        until = perf_counter() + self._timeout_s

        async def attempt() -> HttpResponse:
            return await self._http.fetch(
                "supabase_auth",
                method,
                url,
                headers=headers,
                content=content,
                timeout_s=max(0.0, until - perf_counter()),
            )

        try:
            return await attempt()
        except OutcomeUnknown as first:
            if not first.connection_lost:
                raise
            # An idle connection that the server closed is retried once: every call here may be
            # repeated. If the retry is not sent, the outcome of the first call stays unknown.
            try:
                return await attempt()
            except RequestNotSent:
                raise first from None


def _raise_if_refused(call: str, response: HttpResponse, *, is_user_token: bool) -> HttpResponse:
    status = response.status_code
    if response.is_success:
        return response
    code = _error_code(response)
    if status >= _SERVER_ERROR:
        _log.warning("auth_call_failed", call=call, status=status, code=code)
        failed = AuthOutcomeUnknown(
            "auth_unavailable", f"Supabase Auth answered {status}", retry_after_s=5
        )
        failed.pause_s = response.retry_after_s(utc_now())
        raise failed
    if status == _TOO_MANY or (status in _OUR_FAULT and not is_user_token):
        _log.error("auth_call_refused", call=call, status=status, code=code)
        kind = AuthDenied if status in _DENIED else AuthBusy
        refused = kind(
            "auth_unavailable",
            f"Supabase Auth answered {status} {code}",
            retry_after_s=_LONG_WAIT_S,
        )
        if isinstance(refused, AuthBusy):
            refused.pause_s = response.retry_after_s(utc_now())
        raise refused
    raise AuthRefused(code, status)


def _error_code(response: HttpResponse) -> str:
    """Returns GoTrue's error_code, or "unknown": the API gateway has other errors."""
    try:
        code = read_object(response.content).get("error_code")
    except NotJson:
        return "unknown"
    return code if isinstance(code, str) else "unknown"


def _json(response: HttpResponse) -> Mapping[str, object]:
    try:
        return read_object(response.content)
    except NotJson as error:
        raise AuthOutcomeUnknown("auth_unavailable", "Supabase Auth answered nonsense") from error


def _user(record: Mapping[str, object]) -> AuthUser:
    raw_id = record.get("id")
    try:
        user_id = UUID(raw_id if isinstance(raw_id, str) else "")
    except ValueError as error:
        raise AuthOutcomeUnknown("auth_unavailable", "Supabase Auth answered nonsense") from error
    phone, metadata = record.get("phone"), record.get("app_metadata")
    app_metadata: Mapping[str, object] = (
        cast("Mapping[str, object]", metadata) if isinstance(metadata, dict) else {}
    )
    unverified = app_metadata.get("evpower_email_unverified") is True
    confirmed: list[Contact] = []
    if record.get("email_confirmed_at") and not unverified:
        confirmed.append("email")
    if record.get("phone_confirmed_at"):
        confirmed.append("phone")
    profile = profile_of(record, confirmed)
    banned = record.get("banned_until")
    return AuthUser(
        id=user_id,
        email=profile.email,
        email_confirmed=bool(record.get("email_confirmed_at")),
        # A ban with an unreadable end is a ban without end.
        banned_until=moment(banned) or (_FOREVER if banned else None),
        profile=profile,
        phone=phone_from_auth(phone) if isinstance(phone, str) else None,
        phone_confirmed=bool(record.get("phone_confirmed_at")),
        signed_in=bool(record.get("last_sign_in_at")),
        trusted_contacts=trusted_contacts(record),
        app_metadata=app_metadata,
    )
