"""What a worker would make many times over although it is always the same."""

import atexit
import functools
import shutil
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FunctionType, SimpleNamespace
from typing import Any

import asyncpg
import httpx
from fastapi import params, routing
from fastapi._compat import v2
from httpx._transports import default

from evpower.devstack import children
from evpower.devstack.postgres.accounts import write_private
from evpower.devstack.postgres.server import EmbeddedPostgres
from tests.folders import server_folder

_compiled: dict[tuple[Any, ...], v2.ModelField] = {}


def share_validators() -> None:
    """Let every application of this process use a validator that an earlier one compiled.

    FastAPI compiles one for each parameter, body and answer of each route of each application,
    20 ms for ours. It depends on its type and constraints alone, and is never changed. The field
    itself is kept, so that nothing else gets the address of what is in it.
    """
    compile_ = v2.ModelField.__post_init__

    def shared(self: v2.ModelField) -> None:
        parts = v2.asdict(self.field_info)
        annotation = parts.pop("annotation")
        key = (annotation, repr(parts), repr(self.config))
        try:
            self._type_adapter = _compiled[key]._type_adapter
        except KeyError:
            compile_(self)
            _compiled[key] = self
        except TypeError:  # a type that has no hash
            compile_(self)

    v2.ModelField.__post_init__ = shared


def share_signatures() -> None:
    """Let what FastAPI reads of an endpoint's signature serve the routers that include it too.

    FastAPI reads it once for each of them: 80 ms for one application of ours.
    """
    read = routing._build_dependant_with_parameterless_dependencies

    def shared(*, path: str, call: Any, dependencies: Sequence[params.Depends]) -> Any:
        if not isinstance(call, FunctionType):
            return read(path=path, call=call, dependencies=dependencies)
        signatures = call.__dict__.setdefault("_signature", {})
        key = (call, path, *dependencies)
        if key not in signatures:
            signatures[key] = read(path=path, call=call, dependencies=dependencies)
        return signatures[key]

    routing._build_dependant_with_parameterless_dependencies = shared


def share_authorities() -> None:
    """Let every HTTP client of this process use the authorities of the web that one has read.

    To read them takes 25 ms. What has authorities of its own makes its own context.
    """
    create = httpx.create_ssl_context
    usual = functools.cache(create)

    def shared(verify: Any = True, cert: Any = None, trust_env: bool = True) -> Any:  # noqa: FBT001, FBT002 - as httpx has it
        if verify is True and cert is None and not trust_env:
            return usual(trust_env=False)
        return create(verify=verify, cert=cert, trust_env=trust_env)

    httpx.create_ssl_context = default.create_ssl_context = shared


def share_types(port: int, prefix: str, newest: int) -> None:
    """Let all connections to clones of one template use what one of them asked about types.

    The question takes PostgreSQL 10 ms of a core. The server of `port` numbers no two types alike:
    up to `newest` a number means the same in every database whose name begins with `prefix`.
    """
    ask = asyncpg.Connection._introspect_types
    answers: dict[frozenset[int], Any] = {}

    async def shared(self: Any, oids: Iterable[int], timeout: float) -> Any:  # noqa: ASYNC109
        wanted = frozenset(oids)
        is_clone = self._addr[1] == port and self._params.database.startswith(prefix)
        if not is_clone or max(wanted) > newest:
            return await ask(self, oids, timeout)
        if wanted not in answers:
            answers[wanted], statement = await ask(self, oids, timeout)
            return answers[wanted], statement
        return answers[wanted], SimpleNamespace(name="none was sent")

    asyncpg.Connection._introspect_types = shared


def share_clusters() -> None:
    """Let PostgreSQL's data folders of this process be copies of the first one, with its password.

    initdb takes more than a second of a core.
    """
    make = EmbeddedPostgres._initdb
    made: list[tuple[Path, str]] = []
    folders = ExitStack()
    atexit.register(folders.close)

    async def shared(self: Any, account: children.Account | None) -> None:
        password: Path = self._beside("password")
        if not made:
            await make(self, account)
            first = folders.enter_context(server_folder("cluster")) / "pg"
            await _copy(self.data_dir, first)
            made.append((first, password.read_text()))
            return
        first, secret = made[0]
        write_private(password, secret)
        beside: Path = self._beside("new")
        shutil.rmtree(beside, ignore_errors=True)
        await _copy(first, beside)
        beside.rename(self.data_dir)

    EmbeddedPostgres._initdb = shared


async def _copy(folder: Path, to: Path) -> None:
    copied = await children.run(["cp", "-a", folder, to])
    assert copied.returncode == 0, copied.stdout
