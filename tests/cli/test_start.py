"""A command starts quickly: what only a server needs is not imported, nor is garbage looked for."""

import subprocess
import sys

from evpower.cli.tree import WORDS
from tests.waiting import COMMAND_S

# Together they take more CPU than the rest of a command's start.
OF_A_SERVER = {
    "fastapi", "uvicorn", "websockets", "jsonschema_rs", "nats", "jwt", "cryptography",
    "phonenumbers", "aiosmtplib",
}  # fmt: skip


def printed(code: str) -> list[str]:
    """Runs Python in a process of its own. Returns the words that it prints last."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=True,
    )
    return done.stdout.splitlines()[-1].split()


def test_commands_import_nothing_that_only_a_server_needs() -> None:
    words = [word for word in WORDS if word != "push"]  # its commands make and read keys
    code = (
        f"import sys; from evpower.cli.tree import build; [build(word) for word in {words!r}];"
        " print('with', *sys.modules)"
    )
    _, *loaded = printed(code)
    assert "evpower.payments" in loaded
    assert OF_A_SERVER.intersection(loaded) == set()


def test_commands_import_no_web_framework() -> None:
    _, *loaded = printed("import sys; import evpower.cli.app; print('with', *sys.modules)")
    assert {"fastapi", "uvicorn"}.intersection(loaded) == set()


def test_a_start_is_not_searched_for_garbage_all_the_time() -> None:
    code = (
        "import gc, sys; from evpower.cli.tree import main; before = gc.get_stats()\n"
        "sys.argv = ['evpower', 'payments', '--help']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(*(now['collections'] - was['collections']"
        " for was, now in zip(before, gc.get_stats())))"
    )
    young, _, oldest = map(int, printed(code))
    assert young < 30
    assert oldest == 0
