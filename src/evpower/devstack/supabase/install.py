"""Installs the local Supabase's npm packages with the wheel's npm.

Usage: `python -m evpower.devstack.supabase.install`.
"""

import os
import subprocess
import sys
from pathlib import Path

from evpower.devstack.errors import DevstackError
from evpower.devstack.supabase.server import SERVER_DIR, node_binary

_TIMEOUT_S = 600
_NETWORK_CODES = (
    "ENOTFOUND",
    "EAI_AGAIN",
    "ECONNREFUSED",
    "ECONNRESET",
    "ETIMEDOUT",
    "ENETUNREACH",
)
_FLAGS = (
    *(
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--no-update-notifier",
        "--loglevel=error",
    ),
    *(
        "--fetch-retries=2",
        "--fetch-retry-mintimeout=500",
        "--fetch-retry-maxtimeout=3000",
    ),
)


def install(directory: Path = SERVER_DIR) -> None:
    """Brings node_modules to exactly what package-lock.json says."""
    node = node_binary()
    npm = node.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    env = {
        **os.environ,
        "PATH": f"{node.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
    }
    try:
        done = subprocess.run(  # noqa: S603 - the arguments are ours
            [node, npm, "ci", *_FLAGS],
            cwd=directory,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        problem = f"npm did not finish in {_TIMEOUT_S // 60} minutes"
        raise DevstackError(problem, "Check the network and run it again: make setup") from error
    if done.returncode != 0:
        raise _npm_error(done.stdout)
    (directory / "node_modules" / ".installed").touch()


def _npm_error(output: str) -> DevstackError:
    lines = [line.removeprefix("npm error ").strip() for line in output.splitlines()]
    messages = [line for line in lines if line and "complete log" not in line.lower()]
    code = next((code for code in _NETWORK_CODES if any(code in line for line in messages)), None)
    if code is not None:
        return DevstackError(
            f"npm can't reach its registry ({code})",
            "Check the network, or set a mirror with npm_config_registry, and run: make setup",
        )
    return DevstackError(f"npm ci failed: {' | '.join(messages[:4])}", "Run it again: make setup")


def main() -> int:
    """Returns 0, or 1 after one line on stderr."""
    try:
        install()
    except DevstackError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
