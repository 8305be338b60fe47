"""The data folder of the embedded PostgreSQL: whether it can be used, and is in use."""

import os
from pathlib import Path
from typing import Final

from evpower.devstack.children import Account
from evpower.devstack.errors import DevstackError
from evpower.devstack.postgres.accounts import first_unreachable, make_reachable

MAJOR: Final = "18"


def check_folder(folder: Path, password: Path, account: Account | None) -> None:
    """Raises DevstackError unless `folder` is a cluster this account can use, or can become one."""
    parent = folder.parent
    try:
        make_reachable(parent)
    except OSError as error:
        raise _folder_error(parent, f"can't be made: {error.strerror}") from error
    if not os.access(parent, os.W_OK | os.X_OK):
        raise _folder_error(parent, "is not writable for this user")
    if account is not None and (closed := first_unreachable(parent, account)) is not None:
        raise DevstackError(
            f"PostgreSQL can't run as root, and the user {account.name!r} it runs as instead "
            f"can't enter {closed}",
            f"chmod o+x {closed}, or choose another folder with --data, or run as a user.",
        )
    if not folder.exists():
        return
    if not folder.is_dir():
        raise _folder_error(folder, "is not a folder")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise _folder_error(folder, "belongs to another user or is not writable")
    _check_cluster(folder, password)


def _check_cluster(folder: Path, password: Path) -> None:
    if not any(folder.iterdir()):
        folder.rmdir()
        return
    try:
        major = (folder / "PG_VERSION").read_text().strip()
    except OSError as error:
        problem = "is not a PostgreSQL data folder (no PG_VERSION in it)"
        raise _folder_error(folder, problem) from error
    if major != MAJOR:
        raise _folder_error(folder, f"was made by PostgreSQL {major}, this is {MAJOR}")
    if not password.exists():
        raise _folder_error(folder, f"has lost its password file {password}")


def _folder_error(folder: Path, problem: str) -> DevstackError:
    fix = "Choose another folder with --data, or begin anew with --fresh (this deletes the data)."
    return DevstackError(f"{folder} {problem}", fix)


def is_postmaster_of(pid: int, data_dir: Path) -> bool:
    """Returns whether its working directory is the data folder; without /proc, True."""
    process = Path(f"/proc/{pid}")
    if not process.exists():
        return True
    try:
        return (process / "cwd").resolve(strict=True) == data_dir.resolve()
    except OSError:
        return False
