"""How `evpower doctor` calls the functions of the Supabase project."""

from collections.abc import Mapping
from typing import Final

from evpower import sync
from evpower.config import Settings
from evpower.foundation.http import HttpClient, HttpResponse

TIMEOUT_S: Final = 5.0


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


def secret_headers(settings: Settings) -> dict[str, str]:
    """Returns the secret key's headers; it is a bearer too where it is the legacy JWT."""
    return sync.secret_key_headers(settings.supabase_secret_key.get_secret_value())
