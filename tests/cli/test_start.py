"""A command starts quickly: what only a server needs is not imported."""

import subprocess
import sys

from tests.waiting import COMMAND_S


def test_commands_import_no_web_framework() -> None:
    code = (
        "import sys; import evpower.cli.app;"
        " print(*sorted({'fastapi', 'uvicorn'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=True,
    )
    assert done.stdout.split() == []
