"""What closes badly keeps nothing else open."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from structlog.testing import capture_logs

from evpower.bootstrap.modules import assemble
from evpower.bootstrap.server import close
from evpower.config import Settings
from evpower.foundation.module import Module


@dataclass
class Closings:
    """Remembers in which order parts were closed."""

    closed: list[str] = field(default_factory=list[str])

    def module(self, name: str, error: Exception | None = None) -> Module:
        return Module(name, close=self.part(name, error))

    def part(self, name: str, error: Exception | None = None) -> Callable[[], Awaitable[None]]:
        async def end() -> None:
            self.closed.append(name)
            if error is not None:
                raise error

        return end


async def test_one_part_that_fails_to_close_does_not_skip_the_others() -> None:
    closings = Closings()
    parts = assemble(Settings.model_construct(supabase_url="https://project.supabase.co"))
    parts.shared.http.aclose = closings.part("http", OSError("a socket"))  # type: ignore[method-assign]
    parts.shared.db.close = closings.part("database")  # type: ignore[method-assign]
    modules = [closings.module("first", RuntimeError("broken")), closings.module("second")]
    with capture_logs() as logs:
        await close(replace(parts, modules=modules))
    assert closings.closed == ["first", "second", "http", "database"]
    assert [line["part"] for line in logs if line["event"] == "close_failed"] == ["first", "http"]
