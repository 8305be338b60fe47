"""Settings, read once, in bootstrap. A production start with a missing or unsafe one is refused."""

from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Everything the environment (EVPOWER_*) or .env may say."""

    model_config = SettingsConfigDict(env_prefix="EVPOWER_", env_file=".env", extra="ignore")

    env: Literal["production", "development"] = "production"
    database_url: SecretStr = SecretStr("")
    database_pool: int = Field(16, ge=2, le=200)

    host: str = "127.0.0.1"
    port: int = Field(9210, ge=1, le=65535)
    public_url: str = ""
    trusted_proxies: str = ""  # comma-separated addresses whose X-Forwarded-For counts
    cors_origins: str = ""

    supabase_url: str = ""
    supabase_secret_key: SecretStr = SecretStr("")
    supabase_publishable_key: str = ""
    supabase_jwt_secret: SecretStr = SecretStr("")  # only while the project still signs with HS256
    auth_introspect: Literal["never", "money"] = "never"
    register_confirm: Literal["auto", "email"] = "auto"

    rate_per_minute: int = Field(120, ge=1)
    rate_money_per_minute: int = Field(20, ge=1)
    rate_register_per_hour: int = Field(10, ge=1)
    rate_webhook_per_minute: int = Field(3000, ge=1)

    topup_min_som: int = Field(10, ge=1)
    topup_max_som: int = Field(100_000, ge=1)
    payment_qr_provider: str = ""
    sandbox_url: str = ""  # devstack only
    sandbox_secret: SecretStr = SecretStr("")  # devstack only

    relay_batch: int = Field(500, ge=1, le=5000)
    relay_poll_s: float = Field(1.0, gt=0)

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_json: bool = True
