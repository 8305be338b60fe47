"""All settings, and what each value may be."""

from datetime import date
from typing import Final, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

_MAX_PORT: Final = 65_535


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
    sign_in_codes_per_address: int = Field(default=40, ge=1)  # an hour; five times that a day
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
    # Of the devstack only; of several, separated by commas, each is accepted and the first signs.
    sandbox_secret: SecretStr = SecretStr("")

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
    clock_file: str = ""  # tests only: by how many seconds the clock is moved (foundation/clock.py)

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
