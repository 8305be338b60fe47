"""`evpower bank`: banks to develop against. They make money out of nothing."""

from pathlib import Path

import typer

from evpower.cli.out import console, fail

bank = typer.Typer(
    help="Run a simulated bank on this machine: for development only.", no_args_is_help=True
)


@bank.callback()
def _banks() -> None:
    """Run a simulated bank on this machine: for development only."""


@bank.command()
def odengi(
    port: int = typer.Option(9212, min=1, max=65535, help="Where it answers, on 127.0.0.1."),
    data: Path | None = typer.Option(None, help="Its folder; without one it forgets at the end."),
    public_url: str = typer.Option("", help="Where phones reach it, if not at 127.0.0.1."),
) -> None:
    """Run O!Dengi's simulator; EVPOWER_ODENGI_SID and EVPOWER_ODENGI_PASSWORD are the merchant."""
    from evpower.cli.settings import load
    from evpower.devstack import serve_odengi_bank

    settings = load()
    if settings.env == "production":
        fail("a simulated bank makes money out of nothing", "set EVPOWER_ENV=development")
    password = settings.odengi_password.get_secret_value()
    if not settings.odengi_sid or not password:
        fail("no merchant is set", "set EVPOWER_ODENGI_SID and EVPOWER_ODENGI_PASSWORD to any text")
    url = f"http://127.0.0.1:{port}"
    console.print(f"EVPOWER_ODENGI_URL={url}")
    serve_odengi_bank(settings.odengi_sid, password, port, data, public_url=public_url or url)
