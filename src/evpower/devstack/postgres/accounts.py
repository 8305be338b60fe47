"""The account that runs PostgreSQL when this process is root, and access to files."""

import os
import pwd
import shutil
import stat
import tempfile
from pathlib import Path

from evpower.devstack.children import Account
from evpower.devstack.errors import DevstackError

_CANDIDATES = ("nobody", "daemon")
_COPY_ROOT = Path("/var/tmp")  # noqa: S108 - a root-owned folder in it, checked before use


def unprivileged() -> Account | None:
    """Returns None for a normal user; for root the existing user to run PostgreSQL as."""
    if os.geteuid() != 0:
        return None
    for name in _CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise DevstackError(
        "PostgreSQL refuses to run as root and this machine has no user 'nobody'",
        "Run EvPower as a normal user.",
    )


def first_unreachable(path: Path, account: Account) -> Path | None:
    """Returns the outermost folder on the way to `path` that the account can't enter."""
    resolved = path.resolve()
    for folder in [*reversed(resolved.parents), resolved]:
        if folder.is_dir() and not _may_enter(folder, account):
            return folder
    return None


def make_reachable(folder: Path) -> None:
    """Makes a folder with its parents; as root also enterable by PostgreSQL's account."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        if os.geteuid() == 0:
            path.chmod(0o755)


def write_private(path: Path, text: str) -> None:
    """Writes a file that only this user may read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    path.chmod(0o600)


def _may_enter(folder: Path, account: Account) -> bool:
    info = folder.stat()
    if info.st_uid == account.uid:
        return bool(info.st_mode & stat.S_IXUSR)
    if info.st_gid == account.gid:
        return bool(info.st_mode & stat.S_IXGRP)
    return bool(info.st_mode & stat.S_IXOTH)


def reachable_copy(tree: Path, account: Account, key: str) -> Path:
    """Returns `tree`, or a root-owned copy of it under /var/tmp that the account can read."""
    if first_unreachable(tree / "bin", account) is None:
        return tree
    target = _COPY_ROOT / f"evpower-postgres-{key}"
    if _trusted(target):
        return target
    if target.is_symlink() or target.exists():
        raise DevstackError(f"{target} exists but is not root's own", f"Remove {target}.")
    staging = Path(tempfile.mkdtemp(prefix=f"{target.name}.", dir=_COPY_ROOT))
    shutil.copytree(tree, staging, symlinks=True, dirs_exist_ok=True)
    staging.chmod(0o755)
    try:
        staging.rename(target)
    except OSError:  # another process made it first
        shutil.rmtree(staging, ignore_errors=True)
        if not _trusted(target):
            raise
    return target


def _trusted(folder: Path) -> bool:
    if folder.is_symlink() or not folder.is_dir():
        return False
    info = folder.stat()
    return info.st_uid == 0 and not info.st_mode & 0o022
