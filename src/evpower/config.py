"""Settings, read once, in bootstrap. A production start with a missing or unsafe one fails."""

import base64
import binascii
import difflib
import ipaddress
import json
import re
from collections.abc import Iterable
from datetime import date
from typing import Final, Literal, cast
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

_STATEMENT_S: Final = 8.0  # hosted Supabase's statement_timeout and lock_timeout
_MIN_SECRET: Final = 32  # characters of an HS256 secret (RFC 7518 3.2)
_MIN_WEBHOOK_SECRET: Final = 24  # characters
_MAX_PORT: Final = 65_535
_KEY: Final = re.compile(r"[\x21-\x7e]*")  # characters that a header can carry
_ADDRESS: Final = re.compile(r"https?://[^\s/?#]+[^\s?#]*")
_SUPABASE_PATH: Final = re.compile(r"/(auth|functions|graphql|realtime|rest|storage)(/|$)")
_ORIGIN: Final = re.compile(r"\*|null|[a-z][a-z0-9+.-]*://[^\s/?#]+")
_PREFIX: Final = "EVPOWER_"
_IGNORED_PREFIXES: Final = ("EVPOWER_TEST_",)  # for the tests, not for the processes


OldOperation = Literal["read", "stop", "start", "top-up"]
_OLD_OPERATIONS: Final[tuple[OldOperation, ...]] = ("read", "stop", "start", "top-up")


class Settings(BaseSettings):
    """All settings, from the environment (EVPOWER_*) or .env."""

    model_config = SettingsConfigDict(env_prefix="EVPOWER_", env_file=".env", extra="ignore")

    env: Literal["production", "development"] = "production"
    database_url: SecretStr = SecretStr("")
    database_pool: int = Field(default=16, ge=2, le=200)

    host: str = "127.0.0.1"
    port: int = Field(default=9210, ge=1, le=65535)
    also_listen: str = ""  # comma-separated host:port, served like the first
    public_url: str = ""
    trusted_proxies: str = ""  # comma-separated addresses whose X-Forwarded-For is trusted
    cors_origins: str = ""

    supabase_url: str = ""
    supabase_secret_key: SecretStr = SecretStr("")
    supabase_publishable_key: str = ""
    supabase_ca: str = ""  # path of the CA certificate, PEM, that signed Supabase's certificate
    http_proxy: SecretStr = SecretStr("")  # "http://user:password@host:3128", for outgoing calls
    supabase_jwt_secret: SecretStr = SecretStr("")  # only while the project still signs with HS256
    supabase_jwt_secret_previous: SecretStr = SecretStr("")  # until tokens signed with it expire
    supabase_webhook_secrets: SecretStr = SecretStr("")  # "v1,whsec_...|v1,whsec_..."
    auth_introspect: Literal["never", "money"] = "never"
    anonymous_clients: bool = False  # whether anonymous users of Supabase are clients with wallets
    register_confirm: Literal["auto", "email"] = "email"

    sign_in_sender: Literal["", "console", "nikita"] = ""  # of codes; empty: no sign-in by phone
    sign_in_secret: SecretStr = SecretStr("")  # 32 bytes or more: codes and signing keys rest on it
    sign_in_countries: str = "996"  # comma-separated calling codes of the phones that get codes
    sign_in_codes_per_hour: int = Field(default=1000, ge=1)  # to all phones of a country
    sms_url: str = "https://smspro.nikita.kg/api/message"
    sms_login: str = ""
    sms_password: SecretStr = SecretStr("")
    sms_name: str = ""  # the sender's name, as agreed with the carrier
    old_token_secret: SecretStr = SecretStr("")  # of the backend before, until its tokens expire

    nats_url: SecretStr = SecretStr("")  # "nats://user:pass@a:4222,tls://b": several nodes
    nats_creds: str = ""  # path of a credentials file (a user's JWT and nkey)
    nats_nkey_file: str = ""  # path of an nkey's seed, where the server knows the nkey
    nats_ca: str = ""  # path of the CA certificate, PEM, that signed the servers' certificates
    nats_prefix: str = Field(  # installations that share a NATS need one each
        default="evpower", pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$", max_length=64
    )

    max_body_bytes: int = Field(default=256 * 1024, ge=1024)
    max_in_flight: int = Field(default=400, ge=1)
    idle_connections: int = Field(default=10_000, ge=16)  # connections without a request
    idle_connections_per_address: int = Field(default=2_000, ge=16)
    access_log: bool = True  # one line per request, at level info
    metrics_token: SecretStr = SecretStr("")  # empty in production: /metrics for this machine only

    rate_per_minute: int = Field(default=120, ge=1)
    rate_service_per_minute: int = Field(default=6000, ge=1)
    rate_money_per_minute: int = Field(default=20, ge=1)
    rate_public_per_minute: int = Field(default=6000, ge=1)  # locations and stations, by address
    rate_register_per_hour: int = Field(default=10, ge=1)
    rate_webhook_per_minute: int = Field(default=3000, ge=1)
    rate_refused_stations_per_minute: int = Field(default=120, ge=1)  # handshakes, by address

    live_sockets: int = Field(default=20_000, ge=1)  # of this process
    live_sockets_per_address: int = Field(default=5_000, ge=1)  # a carrier's NAT is one address
    live_sockets_per_client: int = Field(default=10, ge=1)
    live_unauthenticated: int = Field(default=5_000, ge=1)  # sockets without a sign-in yet
    live_unauthenticated_per_address: int = Field(default=100, ge=1)
    live_sweep_s: float = Field(default=5.0, gt=0)
    rate_sockets_per_minute: int = Field(default=3000, ge=1)

    # Operations of the old API's two families that need no token: read, stop, start, top-up.
    without_token_mobile: str = ""
    without_token_v1: str = ""
    rate_without_token_per_minute: int = Field(default=60, ge=1)  # by session, invoice or client
    old_api_sunset: date = date(2027, 12, 1)  # what deprecated old routes announce as their end
    old_app_hosts: str = "ocpp.evpower.kg"  # comma-separated: apps there call a free station active
    # When a session ends without a StopTransaction, seconds after what happened instead.
    charging_close_after_available_s: float = Field(default=90, gt=0)
    charging_close_after_boot_s: float = Field(default=300, gt=0)
    charging_close_after_stop_s: float = Field(default=300, gt=0)
    charging_close_after_no_frame_s: float = Field(default=43_200, gt=0)
    charging_notify_lost_after_s: float = Field(default=1_800, gt=0)
    charging_start_window_s: float = Field(default=120, gt=0)  # unless the station says its own
    charging_start_window_extra_s: float = Field(default=30, ge=0)
    charging_hold_som: int = Field(default=200, ge=1)  # of a session without a limit of money
    charging_hold_step_som: int = Field(default=100, ge=1)
    charging_minimum_som: int = Field(default=10, ge=1)

    alert_webhook_url: SecretStr = SecretStr("")  # such addresses often hold a token
    alert_webhook_secret: SecretStr = SecretStr("")  # "whsec_...|whsec_...": each signs
    alert_smtp_url: SecretStr = SecretStr("")  # "smtp://user:password@host:587", smtps, smtp+plain
    alert_smtp_ca: str = ""  # path of the CA certificate, PEM, that signed the server's
    alert_email_from: str = ""
    alert_email_to: str = ""  # comma-separated
    alert_language: Literal["ru", "ky", "en"] = "ru"
    alert_quiet_hours: str = Field(  # "22:00-07:00": only grave alerts are sent
        default="", pattern=r"^(([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d)?$"
    )
    alert_time_zone: str = "Asia/Bishkek"
    alert_tls_hosts: str = ""  # comma-separated, host[:443]: whose certificates are watched

    push_vapid_private_key: SecretStr = SecretStr("")  # of evpower push keys; empty: no Web Push
    push_contact: str = ""  # "mailto:support@example.kg", for the push services
    push_hosts: str = (  # comma-separated: to which push services messages may be sent
        "fcm.googleapis.com,updates.push.services.mozilla.com,*.push.apple.com,*.notify.windows.com"
    )

    topup_min_som: int = Field(default=10, ge=1)
    topup_max_som: int = Field(default=100_000, ge=1)
    payment_qr_provider: str = ""
    payment_webhook_provider: str = ""  # whose notices /payment/webhook takes; "": the QR provider
    payment_report_columns: str = ""  # what the columns of a provider's report mean
    payment_return_url: str = ""  # where a provider's page sends the driver back to
    odengi_url: str = ""  # "https://host" or the whole address, which ends in json.php
    odengi_sid: str = ""  # the merchant's number at the bank
    odengi_password: SecretStr = SecretStr("")  # of the API; signs requests and notices
    odengi_mktime: Literal["ms", "s"] = "ms"  # unit of a request's time
    odengi_test: bool = False  # test bills: no real money moves, never in production
    odengi_report_hosts: str = ""  # comma-separated, host[:port]: of files of history
    sandbox_url: str = ""  # devstack only
    sandbox_secret: SecretStr = SecretStr("")  # devstack only

    charging_first_frame_wait_s: float = Field(default=20.0, ge=0)  # before a first call
    charging_settle_after_connect_s: float = Field(default=10.0, ge=0)
    charging_command_reply_s: float = Field(default=30.0, gt=0)  # then its outcome is unknown
    ocpp_keep_frames_days: int = Field(default=90, ge=1, le=3650)  # raw frames of stations

    relay_batch: int = Field(default=500, ge=1, le=5000)
    relay_poll_s: float = Field(default=1.0, gt=0)
    relay_transactions: int = Field(default=2000, ge=1, le=20_000)  # in one call, and of one client
    relay_in_flight: int = Field(default=3, ge=1, le=20)  # calls at the same time
    relay_lease_s: float = Field(default=15.0, ge=1)  # longer than supabase_timeout_s
    pull_poll_s: float = Field(default=2.0, gt=0)
    supabase_timeout_s: float = Field(default=10.0, gt=0)  # longer than Supabase's statement limit

    check_at: str = Field(default="22:00", pattern=r"^(([01]\d|2[0-3]):[0-5]\d)?$")  # UTC
    check_recent_s: float = Field(default=3600.0, ge=0)  # 0: never
    check_repair: bool = True
    check_pause_s: float = Field(default=0.2, ge=0)

    failpoint_file: str = ""  # development only: names the failpoints (foundation/failpoints.py)

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_json: bool = True

    @property
    def without_token_mobile_operations(self) -> frozenset[OldOperation]:
        """The operations that `/api/...` allows without a token."""
        return old_operations(self.without_token_mobile)

    @property
    def without_token_v1_operations(self) -> frozenset[OldOperation]:
        """The operations that `/api/v1/...` allows without a token."""
        return old_operations(self.without_token_v1)

    @field_validator("*", mode="before")
    @classmethod
    def _without_space(cls, value: object) -> object:
        """Strip white space around a value: secrets in files end with a new line."""
        return value.strip() if isinstance(value, str) else value

    @property
    def further_addresses(self) -> list[tuple[str, int]]:
        """Hosts and ports beside the first."""
        return [_host_and_port(part) for part in self.also_listen.split(",") if part.strip()]

    @field_validator("also_listen")
    @classmethod
    def _addresses(cls, addresses: str) -> str:
        """Refuse what is no address to listen on."""
        for part in addresses.split(","):
            if part.strip():
                _host_and_port(part)
        return addresses

    @field_validator("without_token_mobile", "without_token_v1")
    @classmethod
    def _operations(cls, names: str) -> str:
        """Refuse what is no operation of the old API."""
        old_operations(names)
        return names

    @field_validator("supabase_url", "public_url", "sandbox_url", "odengi_url")
    @classmethod
    def _without_slash(cls, url: str) -> str:
        """Strip slashes at the end of a base address, because paths are appended to it."""
        return url.rstrip("/")


def _host_and_port(text: str) -> tuple[str, int]:
    """Return host and port of `host:port`, an IPv6 host in brackets. Raises ValueError."""
    host, colon, port = text.strip().rpartition(":")
    if not colon or not host or not port.isdecimal() or not 1 <= int(port[:6]) <= _MAX_PORT:
        message = f"{text.strip()!r} is no address such as 0.0.0.0:9210"
        raise ValueError(message)
    return host.removeprefix("[").removesuffix("]"), int(port)


def old_operations(names: str) -> frozenset[OldOperation]:
    """Return the operations of a list. Raises ValueError for a word that is none."""
    words = {word.strip() for word in names.split(",") if word.strip()}
    wrong = words - set(_OLD_OPERATIONS)
    if wrong:
        text = f"{min(wrong)!r} is no operation: {', '.join(_OLD_OPERATIONS)}"
        raise ValueError(text)
    return frozenset(word for word in _OLD_OPERATIONS if word in words)


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
    if "*" in settings.cors_origins:
        texts.append("EVPOWER_CORS_ORIGINS is *: name the web apps that may call")
    return texts
