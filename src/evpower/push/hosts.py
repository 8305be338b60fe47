"""To which hosts messages may be sent: an endpoint is what a stranger's browser says."""

from dataclasses import dataclass
from typing import Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

from evpower.foundation.errors import Invalid
from evpower.foundation.text import flaw

MAX_ENDPOINT: Final = 1024  # characters
_HTTPS_PORT: Final = 443
_LOCAL_HOSTS: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})


class Endpoint(NamedTuple):
    """A subscription's endpoint that may be called."""

    url: str
    host: str
    is_local: bool  # a push service of this machine, in development


@dataclass(frozen=True, slots=True)
class PushHosts:
    """The hosts of the setting; `local`: origins on this machine, "http://127.0.0.1:8100"."""

    names: frozenset[str]
    suffixes: tuple[str, ...]  # ".push.apple.com"
    local: frozenset[str]

    def check(self, url: str) -> Endpoint:
        """Returns the endpoint. Raises Invalid("subscription_invalid")."""
        if flaw(url, most=MAX_ENDPOINT) or not url.isascii() or " " in url or "\\" in url:
            raise _refused("the endpoint is no address")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise _refused("the endpoint is no address") from error
        host = (parts.hostname or "").rstrip(".")
        if parts.username is not None or parts.password is not None or parts.fragment or not host:
            raise _refused("the endpoint is no plain https address")
        if f"{parts.scheme}://{parts.netloc}" in self.local:
            return Endpoint(url, host, is_local=True)
        if parts.scheme != "https" or port not in {None, _HTTPS_PORT}:
            raise _refused("the endpoint is no plain https address")
        if not self._has(host) or host != parts.hostname:
            raise _refused("the endpoint's host is of no push service that is known here")
        return Endpoint(url, host, is_local=False)

    def _has(self, host: str) -> bool:
        return host in self.names or host.endswith(self.suffixes)


def read_hosts(text: str, *, may_be_local: bool) -> PushHosts:
    """Returns the hosts of "fcm.googleapis.com,*.push.apple.com". Raises ValueError.

    `may_be_local`: an origin of this machine may be among them, for tests.
    """
    names: set[str] = set()
    suffixes: set[str] = set()
    local: set[str] = set()
    for part in filter(None, (part.strip().lower() for part in text.split(","))):
        if part.startswith("http://"):
            if not may_be_local or not _is_local(urlsplit(part)):
                raise ValueError(f"{part!a:.80} is no host of a push service")
            local.add(part)
            continue
        bare = part.removeprefix("*.")
        labels = bare.split(".")
        if len(labels) < 2 or not all(map(_is_label, labels)) or labels[-1].isdigit():  # noqa: PLR2004
            raise ValueError(f"{part!a:.80} is no host such as fcm.googleapis.com or *.example.com")
        if part.startswith("*."):
            suffixes.add(f".{bare}")
        else:
            names.add(bare)
    return PushHosts(frozenset(names), tuple(sorted(suffixes)), frozenset(local))


def _is_local(parts: SplitResult) -> bool:
    host, _, port = parts.netloc.rpartition(":")
    return host in _LOCAL_HOSTS and port.isdecimal() and parts.path == ""


def _is_label(label: str) -> bool:
    return label.isascii() and label.replace("-", "").isalnum() and label.strip("-") == label


def _refused(detail: str) -> Invalid:
    return Invalid("subscription_invalid", detail)
