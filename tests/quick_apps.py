"""What a worker would make many times over although it is always the same."""

import atexit
import functools
import shutil
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import FunctionType, SimpleNamespace
from typing import Annotated, Any, get_origin

import asyncpg
import httpx
from fastapi import params, routing
from fastapi._compat import v2
from fastapi.dependencies import models, utils
from httpx._transports import default
from pydantic.fields import FieldInfo

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


def share_parameters() -> None:
    """Let an endpoint of any application use what FastAPI read of the same one of an earlier one.

    What they depend on is each application's own, and is read anew. Of one code, path and types
    the rest is the same: 100 ms of a core for one application of ours.
    """
    read = utils.get_dependant
    read_answer = routing.get_typed_return_annotation
    known: dict[Any, tuple[models.Dependant, list[str], list[Any]]] = {}

    def shared(*, path: str, call: Any, **how: Any) -> models.Dependant:
        parameters = _parameters(call)
        if parameters is None:
            return read(path=path, call=call, **how)
        written, depends, alive = parameters
        key = (call.__code__, path, repr(how), *written)
        try:
            earlier = known.get(key)
        except TypeError:  # a type that has no hash
            return read(path=path, call=call, **how)
        if earlier is None:
            made = read(path=path, call=call, **how)
            names = [below.name or "" for below in made.dependencies]
            known[key] = replace(made, call=None, dependencies=[]), names, alive
            return made
        plain, names, _ = earlier
        scopes = [*(how.get("parent_oauth_scopes") or []), *(how.get("own_oauth_scopes") or [])]
        below = [
            shared(
                path=path,
                call=on.dependency,
                name=name,
                own_oauth_scopes=[*(getattr(on, "scopes", None) or ())],
                parent_oauth_scopes=scopes,
                use_cache=on.use_cache,
                scope=on.scope,
                concurrency=on._concurrency,
            )
            for name, on in ((name, depends[name]) for name in names)
        ]
        return replace(plain, call=call, dependencies=below)

    def shared_answer(call: Any) -> Any:
        answer = call.__annotations__.get("return") if _is_plain(call) else ""
        return read_answer(call) if answer is None or isinstance(answer, str) else answer

    utils.get_dependant = routing.get_dependant = shared
    routing.get_typed_return_annotation = shared_answer
    routing.compile_path = functools.cache(routing.compile_path)
    models._CallIdentity.__init__ = _identify  # whether it is a generator is a matter of its code


def _is_plain(call: Any) -> bool:
    return isinstance(call, FunctionType) and "__wrapped__" not in call.__dict__


_of_code: dict[Any, Any] = {}


def _identify(self: Any, call: Any) -> None:
    self.call = _of_code.setdefault(call.__code__, call) if _is_plain(call) else call


def _parameters(call: Any) -> tuple[list[Any], dict[str, params.Depends], list[Any]] | None:
    """Returns what is written of its parameters, and what they depend on; None if it is unusual.

    The last is what has to stay where it is: its address may be in what is written of it.
    """
    if not _is_plain(call):
        return None
    written: list[Any] = []
    depends: dict[str, params.Depends] = {}
    alive: list[Any] = [*(call.__defaults__ or ()), *(call.__kwdefaults__ or {}).items()]
    if any(isinstance(default, params.Depends) for default in alive):
        return None
    written.extend((type(default), repr(default)) for default in alive)
    for name, annotation in call.__annotations__.items():
        if isinstance(annotation, str):
            return None
        if get_origin(annotation) is not Annotated:
            written.append((name, annotation))
            continue
        written.append((name, annotation.__origin__))
        for more in annotation.__metadata__:
            if not isinstance(more, params.Depends):
                parts = v2.asdict(more) if isinstance(more, FieldInfo) else more
                written.append((type(more), repr(parts), repr(getattr(more, "__dict__", None))))
                alive.append(more)
            elif name in depends or more.dependency is None:
                return None
            else:
                depends[name] = more
                written.append((type(more), more.scope))
    return written, depends, alive


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
