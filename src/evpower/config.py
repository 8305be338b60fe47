"""Settings, read once, in bootstrap. A production start with a missing or unsafe one is refused."""

from typing import Final, Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

_MIN_SECRET: Final = 32  # characters of an HS256 secret (RFC 7518 3.2)


class Settings(BaseSettings):
    """Everything the environment (EVPOWER_*) or .env may say."""

    model_config = SettingsConfigDict(env_prefix="EVPOWER_", env_file=".env", extra="ignore")

    env: Literal["production", "development"] = "production"
    database_url: SecretStr = SecretStr("")
    database_pool: int = Field(default=16, ge=2, le=200)

    host: str = "127.0.0.1"
    port: int = Field(default=9210, ge=1, le=65535)
    public_url: str = ""
    trusted_proxies: str = ""  # comma-separated addresses whose X-Forwarded-For counts
    cors_origins: str = ""

    supabase_url: str = ""
    supabase_secret_key: SecretStr = SecretStr("")
    supabase_publishable_key: str = ""
    supabase_jwt_secret: SecretStr = SecretStr("")  # only while the project still signs with HS256
    supabase_jwt_secret_previous: SecretStr = SecretStr("")  # while tokens of the one before live
    auth_introspect: Literal["never", "money"] = "never"
    register_confirm: Literal["auto", "email"] = "auto"

    max_body_bytes: int = Field(default=256 * 1024, ge=1024)
    max_in_flight: int = Field(default=400, ge=1)
    access_log: bool = True  # one line per request, at level info
    metrics_token: SecretStr = SecretStr("")  # set: /metrics wants it as a bearer token

    rate_per_minute: int = Field(default=120, ge=1)
    rate_service_per_minute: int = Field(default=6000, ge=1)
    rate_money_per_minute: int = Field(default=20, ge=1)
    rate_register_per_hour: int = Field(default=10, ge=1)
    rate_webhook_per_minute: int = Field(default=3000, ge=1)

    topup_min_som: int = Field(default=10, ge=1)
    topup_max_som: int = Field(default=100_000, ge=1)
    payment_qr_provider: str = ""
    sandbox_url: str = ""  # devstack only
    sandbox_secret: SecretStr = SecretStr("")  # devstack only

    relay_batch: int = Field(default=500, ge=1, le=5000)
    relay_poll_s: float = Field(default=1.0, gt=0)
    relay_transactions: int = Field(default=2000, ge=1, le=20_000)  # in one call, and of one client
    relay_in_flight: int = Field(default=3, ge=1, le=20)  # calls at the same time
    relay_lease_s: float = Field(default=15.0, ge=1)  # longer than a call may take
    supabase_timeout_s: float = Field(default=8.0, gt=0)

    kill_fuse: str = ""  # development only: a file that says who dies where (foundation/steps.py)

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_json: bool = True


def problems(settings: Settings) -> list[str]:
    """All that is missing or unsafe for production, each with its fix; empty: good to go."""
    found: list[str] = []

    def demand(name: str, value: str, how: str) -> None:
        if not value:
            found.append(f"EVPOWER_{name} is missing: {how}")

    demand("DATABASE_URL", settings.database_url.get_secret_value(), "postgres://user:pass@host/db")
    demand("SUPABASE_URL", settings.supabase_url, "the project URL, https://<ref>.supabase.co")
    secret = settings.supabase_secret_key.get_secret_value()
    demand(
        "SUPABASE_SECRET_KEY", secret, "a secret key (sb_secret_...) of the project's API settings"
    )
    demand(
        "SUPABASE_PUBLISHABLE_KEY",
        settings.supabase_publishable_key,
        "the publishable key (sb_publishable_...) of the project's API settings",
    )
    if settings.env == "development":
        return found
    found.extend(_unsafe(settings, secret))
    return found


def _unsafe(settings: Settings, secret: str) -> list[str]:
    found: list[str] = []
    if settings.supabase_url.startswith("http://"):
        found.append("EVPOWER_SUPABASE_URL is not https: keys and tokens would travel in clear")
    if secret.startswith("sb_publishable_"):
        found.append("EVPOWER_SUPABASE_SECRET_KEY holds a publishable key: use sb_secret_...")
    legacy = settings.supabase_jwt_secret.get_secret_value()
    if legacy and len(legacy) < _MIN_SECRET:
        found.append("EVPOWER_SUPABASE_JWT_SECRET is shorter than 32 characters: rotate it")
    if settings.sandbox_url or settings.sandbox_secret.get_secret_value():
        found.append("EVPOWER_SANDBOX_* is set: the sandbox bank makes money out of nothing")
    if settings.payment_qr_provider == "sandbox":
        found.append("EVPOWER_PAYMENT_QR_PROVIDER=sandbox is for development only")
    if "*" in settings.cors_origins:
        found.append("EVPOWER_CORS_ORIGINS is *: name the web apps that may call")
    return found
