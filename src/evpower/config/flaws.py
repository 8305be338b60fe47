"""What is missing or unsafe in the settings, each with its fix; names that are no setting."""

import base64
import binascii
import difflib
import ipaddress
import json
import re
from collections.abc import Iterable
from typing import Final, cast
from urllib.parse import urlsplit

from evpower.config.settings import Settings

_STATEMENT_S: Final = 8.0  # hosted Supabase's statement_timeout and lock_timeout
_MIN_SECRET: Final = 32  # characters of an HS256 secret (RFC 7518 3.2)
_MIN_WEBHOOK_SECRET: Final = 24  # characters
_KEY: Final = re.compile(r"[\x21-\x7e]*")  # characters that a header can carry
_ADDRESS: Final = re.compile(r"https?://[^\s/?#]+[^\s?#]*")
_SUPABASE_PATH: Final = re.compile(r"/(auth|functions|graphql|realtime|rest|storage)(/|$)")
_ORIGIN: Final = re.compile(r"\*|null|[a-z][a-z0-9+.-]*://[^\s/?#]+")
_PREFIX: Final = "EVPOWER_"
_IGNORED_PREFIXES: Final = ("EVPOWER_TEST_",)  # for the tests, not for the processes


def problems(settings: Settings) -> list[str]:
    """Return everything that is missing or unsafe for production, each with its fix."""
    texts: list[str] = []

    def require(name: str, value: str, fix: str) -> None:
        if not value:
            texts.append(f"EVPOWER_{name} is missing: {fix}")

    require(
        "DATABASE_URL", settings.database_url.get_secret_value(), "postgres://user:pass@host/db"
    )
    require("SUPABASE_URL", settings.supabase_url, "the project URL, https://<ref>.supabase.co")
    secret = settings.supabase_secret_key.get_secret_value()
    require(
        "SUPABASE_SECRET_KEY", secret, "a secret key (sb_secret_...) of the project's API settings"
    )
    require(
        "SUPABASE_PUBLISHABLE_KEY",
        settings.supabase_publishable_key,
        "the publishable key (sb_publishable_...) of the project's API settings",
    )
    texts.extend(_unreadable(settings, secret))
    servers = settings.nats_url.get_secret_value()
    if servers and not all(
        server.strip().startswith(("nats://", "tls://"))
        for server in servers.split(",")
        if server.strip()
    ):
        texts.append("EVPOWER_NATS_URL must read nats://host:4222 or tls://user:password@host:4222")
    if settings.nats_creds and settings.nats_nkey_file:
        texts.append("EVPOWER_NATS_CREDS and EVPOWER_NATS_NKEY_FILE are both set: one is enough")
    texts += [*_unusable_addresses(settings), *_exchanged_keys(settings, secret)]
    if settings.topup_min_som > settings.topup_max_som:
        texts.append(
            "EVPOWER_TOPUP_MIN_SOM is over EVPOWER_TOPUP_MAX_SOM: nothing could be paid in"
        )
    texts += _sign_in_problems(settings)
    if settings.env == "development":
        return texts
    texts += [*_unsafe(settings), *_unsafe_sign_in(settings)]
    return texts


def _unreadable(settings: Settings, secret: str) -> list[str]:
    """Return problems of keys that no header can carry, and of addresses with a password.

    Such an address would be in every log line. No value is quoted.
    """
    keys = {
        "SUPABASE_SECRET_KEY": secret,
        "SUPABASE_PUBLISHABLE_KEY": settings.supabase_publishable_key,
    }
    texts = [
        f"EVPOWER_{name} holds a space, a new line or a letter that no key has: copy it again"
        for name, value in keys.items()
        if not _KEY.fullmatch(value)
    ]
    addresses = {"SUPABASE_URL": settings.supabase_url, "PUBLIC_URL": settings.public_url}
    texts += [
        f"EVPOWER_{name} is no address such as https://host, without user and password"
        for name, value in addresses.items()
        if not _is_plain_address(value)
    ]
    return texts


def _is_plain_address(url: str) -> bool:
    try:
        return "@" not in urlsplit(url).netloc
    except ValueError:
        return False


def is_project_address(url: str) -> bool:
    """Return whether it can be a Supabase project's address, without a path of its services."""
    return bool(_ADDRESS.fullmatch(url)) and not _SUPABASE_PATH.search(url)


def unknown(names: Iterable[str]) -> list[str]:
    """Return a line for each name of the environment that looks like a setting but is none."""
    known = {_PREFIX + field.upper() for field in Settings.model_fields}
    texts: list[str] = []
    for name in sorted({name.upper() for name in names} - known):
        if not name.startswith(_PREFIX) or name.startswith(_IGNORED_PREFIXES):
            continue
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
        texts.append(f"{name} is no setting" + (f": is {near[0]} meant?" if near else ""))
    return texts


def _unusable_addresses(settings: Settings) -> list[str]:
    """Return problems of addresses that no call or browser could use. No value is quoted."""
    texts: list[str] = []
    url, public = settings.supabase_url, settings.public_url
    if url and _is_plain_address(url) and not is_project_address(url):
        texts.append(
            "EVPOWER_SUPABASE_URL must be the project's address alone, https://<ref>.supabase.co: "
            "EvPower adds /rest/v1 and the other paths"
        )
    if public and _is_plain_address(public) and not _ADDRESS.fullmatch(public):
        texts.append("EVPOWER_PUBLIC_URL must read https://host")
    origins = [
        origin.strip().rstrip("/") for origin in settings.cors_origins.split(",") if origin.strip()
    ]
    if not all(map(_ORIGIN.fullmatch, origins)):
        texts.append(
            "EVPOWER_CORS_ORIGINS holds what is no origin: one reads https://host, without a path"
        )
    try:
        for network in settings.trusted_proxies.split(","):
            ipaddress.ip_network(network.strip() or "::", strict=False)
    except ValueError:
        texts.append("EVPOWER_TRUSTED_PROXIES holds what is no address or network (10.0.0.0/8)")
    return texts


def _sign_in_problems(settings: Settings) -> list[str]:
    """Return what keeps codes from being sent to phones; nothing where that is switched off."""
    if not settings.sign_in_sender:
        return []
    texts: list[str] = []
    if len(settings.sign_in_secret.get_secret_value().encode()) < _MIN_SECRET:
        texts.append(
            "EVPOWER_SIGN_IN_SECRET is missing or shorter than 32 bytes: openssl rand -base64 32"
        )
    codes = [code.strip() for code in settings.sign_in_countries.split(",")]
    if not all(re.fullmatch(r"[1-9][0-9]{0,2}", code) for code in codes):
        texts.append("EVPOWER_SIGN_IN_COUNTRIES must read 996 or 996,7: calling codes without +")
    if settings.sign_in_sender == "nikita":
        values = {
            "SMS_LOGIN": settings.sms_login,
            "SMS_PASSWORD": settings.sms_password.get_secret_value(),
            "SMS_NAME": settings.sms_name,
        }
        texts += [
            f"EVPOWER_{name} is missing: as the contract for smspro.nikita.kg says"
            for name, value in values.items()
            if not value
        ]
    return texts


def _unsafe_sign_in(settings: Settings) -> list[str]:
    texts: list[str] = []
    if settings.sign_in_sender == "console":
        texts.append(
            "EVPOWER_SIGN_IN_SENDER is console: whoever reads the output signs in as anyone"
        )
    if settings.sign_in_sender and settings.sms_url.startswith("http://"):
        texts.append("EVPOWER_SMS_URL is not https: codes and the password would travel in clear")
    old = settings.old_token_secret.get_secret_value()
    if old and len(old.encode()) < _MIN_SECRET:
        texts.append(
            "EVPOWER_OLD_TOKEN_SECRET is shorter than 32 bytes: it can be guessed; leave it empty, "
            "and drivers sign in anew"
        )
    return texts


def _exchanged_keys(settings: Settings, secret: str) -> list[str]:
    """Return problems of a secret key in the publishable one's place, or the reverse."""
    texts: list[str] = []
    if secret.startswith("sb_publishable_") or _role(secret) == "anon":
        texts.append("EVPOWER_SUPABASE_SECRET_KEY holds a publishable key: use sb_secret_...")
    publishable = settings.supabase_publishable_key
    if publishable.startswith("sb_secret_") or _role(publishable) == "service_role":
        texts.append(
            "EVPOWER_SUPABASE_PUBLISHABLE_KEY holds a secret key: use sb_publishable_... (a secret "
            "key that was given to an app must be replaced in the project)"
        )
    return texts


def _role(key: str) -> str:
    """Return the role in a legacy key, which is a JWT; "" for any other key. Unverified."""
    claims = key.split(".")[1:2]
    try:
        read: object = json.loads(base64.urlsafe_b64decode(claims[0] + "==")) if claims else None
    except (binascii.Error, ValueError):
        return ""
    return str(cast("dict[str, object]", read).get("role", "")) if isinstance(read, dict) else ""


def _unsafe(settings: Settings) -> list[str]:
    texts: list[str] = []
    if settings.supabase_url.startswith("http://"):
        texts.append("EVPOWER_SUPABASE_URL is not https: keys and tokens would travel in clear")
    if settings.supabase_timeout_s <= _STATEMENT_S:
        texts.append(
            f"EVPOWER_SUPABASE_TIMEOUT_S must be over {_STATEMENT_S:g}: Supabase ends a statement "
            "after that with an error; a call that times out earlier looks like an outage"
        )
    if settings.relay_lease_s <= settings.supabase_timeout_s:
        texts.append(
            "EVPOWER_RELAY_LEASE_S must be over EVPOWER_SUPABASE_TIMEOUT_S: a key would be sent by "
            "two relays at once"
        )
    legacy = settings.supabase_jwt_secret.get_secret_value()
    if legacy and len(legacy) < _MIN_SECRET:
        texts.append("EVPOWER_SUPABASE_JWT_SECRET is shorter than 32 characters: rotate it")
    webhooks = settings.supabase_webhook_secrets.get_secret_value()
    parts = [part for part in re.split(r"[|,\s]+", webhooks) if part not in ("", "v1")]
    if any(len(part) < _MIN_WEBHOOK_SECRET for part in parts):
        texts.append(
            "EVPOWER_SUPABASE_WEBHOOK_SECRETS holds one shorter than 24 characters: use "
            "whsec_ and the base64 of 24 random bytes or more"
        )
    if settings.sandbox_url or settings.sandbox_secret.get_secret_value():
        texts.append("EVPOWER_SANDBOX_* is set: the sandbox bank makes money out of nothing")
    for name, value in (("CLOCK", settings.clock_file), ("FAILPOINT", settings.failpoint_file)):
        if value:
            texts.append(f"EVPOWER_{name}_FILE is set: it is for tests, leave it out")
    if "*" in settings.cors_origins:
        texts.append("EVPOWER_CORS_ORIGINS is *: name the web apps that may call")
    return texts
