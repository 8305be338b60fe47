"""Writes a driver's request for deletion into the driver's row in Supabase, which decides on it."""

from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Final
from uuid import UUID

from pydantic import SecretStr

from evpower.foundation.clock import to_z
from evpower.foundation.errors import Unavailable
from evpower.foundation.http import HttpClient, HttpError, HttpResponse
from evpower.foundation.json_reader import NotJson, read_object

_TIMEOUT_S: Final = 8.0
_MAX_BYTES: Final = 64 * 1024
# PostgREST and PostgreSQL: there is no such column. Older projects have a status alone.
_NO_COLUMN: Final = {"PGRST204", "42703"}
_JWT_DOTS: Final = 2


class ClientRows:
    """`public.clients` of the project, over PostgREST."""

    def __init__(
        self, http: HttpClient, *, url: str, secret_key: SecretStr, timeout_s: float = _TIMEOUT_S
    ) -> None:
        secret = secret_key.get_secret_value()
        self._http = http
        self._timeout_s = timeout_s
        self._base = f"{url.rstrip('/')}/rest/v1/clients"
        self._headers = {"apikey": secret, "Prefer": "return=minimal"}
        if secret.count(".") == _JWT_DOTS:  # the legacy service_role key is a JWT
            self._headers["Authorization"] = f"Bearer {secret}"

    async def request_deletion(self, client_id: UUID, at: datetime) -> None:
        """Stores the request; a project without a column for it gets the status `inactive`.

        Raises Unavailable("supabase_unavailable").
        """
        if not await self._update(client_id, {"delete_requested_at": to_z(at)}):
            await self._update(client_id, {"status": "inactive"}, "&status=eq.active")

    async def withdraw_deletion(self, client_id: UUID) -> None:
        """Removes the request, in whichever way it was made. Raises as `request_deletion`."""
        await self._update(client_id, {"delete_requested_at": None})
        of_deletion = "&status=in.(inactive,pending_deletion)"
        await self._update(client_id, {"status": "active"}, of_deletion)

    async def _update(
        self, client_id: UUID, values: Mapping[str, object], condition: str = ""
    ) -> bool:
        """Updates the row if there is one; False: it has no such column."""
        url = f"{self._base}?id=eq.{client_id}{condition}"
        try:
            response = await self._http.fetch(
                "supabase_rest",
                "PATCH",
                url,
                headers=self._headers,
                json=values,
                timeout_s=self._timeout_s,
                max_bytes=_MAX_BYTES,
            )
        except HttpError as error:
            raise _unavailable("Supabase does not answer") from error
        if response.is_success:
            return True
        if response.status_code == HTTPStatus.BAD_REQUEST and _code(response) in _NO_COLUMN:
            return False
        raise _unavailable(f"Supabase answered {response.status_code} {_code(response)}")


def _code(response: HttpResponse) -> str:
    try:
        return str(read_object(response.content).get("code"))
    except NotJson:
        return ""


def _unavailable(detail: str) -> Unavailable:
    return Unavailable("supabase_unavailable", detail, retry_after_s=5)
