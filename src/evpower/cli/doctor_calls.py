"""How `evpower doctor` calls the functions of the Supabase project."""

from collections.abc import Mapping
from typing import Final, cast

from evpower import sync
from evpower.config import Settings
from evpower.foundation.http import HttpClient, HttpError, HttpResponse
from evpower.foundation.json_reader import read_object

TIMEOUT_S: Final = 5.0
STATUS_PAGE: Final = "no setting of EvPower: see the project's status, logs and health report"


async def call(
    settings: Settings, http: HttpClient, name: str, payload: Mapping[str, object]
) -> HttpResponse:
    """Returns the answer to a call with the secret key. Raises HttpError where there is none."""
    url = f"{settings.supabase_url}/rest/v1/rpc/{name}"
    return await http.fetch(
        "supabase_rest",
        "POST",
        url,
        headers=secret_headers(settings),
        json={"payload": payload},
        timeout_s=TIMEOUT_S,
    )


async def auth_settings(settings: Settings, http: HttpClient) -> Mapping[str, object]:
    """Returns the public settings of Supabase Auth; empty where it does not tell them."""
    url = f"{settings.supabase_url}/auth/v1/settings"
    headers = key_headers(settings)
    try:
        answer = await http.fetch("supabase_auth", "GET", url, headers=headers, timeout_s=TIMEOUT_S)
        return read_object(answer.content) if answer.is_success else {}
    except (HttpError, ValueError, TypeError):
        return {}


def providers(auth: Mapping[str, object]) -> Mapping[str, object] | None:
    """Returns which ways to sign in are on, of the settings of Auth; None: they do not tell."""
    external = auth.get("external")
    return cast("dict[str, object]", external) if isinstance(external, dict) else None


def key_headers(settings: Settings) -> dict[str, str]:
    """Returns the publishable key's headers, or where none is set the secret key's."""
    key = settings.supabase_publishable_key
    return {"apikey": key} if key else secret_headers(settings)


def secret_headers(settings: Settings) -> dict[str, str]:
    """Returns the secret key's headers; it is a bearer too where it is the legacy JWT."""
    return sync.secret_key_headers(settings.supabase_secret_key.get_secret_value())
