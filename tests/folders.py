"""Folders for servers: in memory where there is room, removed at the end or by a later run."""

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MEMORY = Path("/dev/shm")  # noqa: S108 - names there are drawn
DISK = Path("/var/tmp")  # noqa: S108
ROOM_BYTES = 4 * 2**30  # a server of the tests takes less than 1 GB


@contextmanager
def server_folder(name: str, *, durable: bool = False) -> Iterator[Path]:
    """Yields an empty folder that PostgreSQL may enter even when the tests run as root.

    A cloned database is 430 files: a disk's file system takes 40 to 500 ms of a core to make them,
    memory 15 ms. `durable`: on the disk, for what is killed.
    """
    parent = DISK if durable or not _has_room() else MEMORY
    remove_abandoned(parent)
    with tempfile.NamedTemporaryFile(prefix=f"evpower-{name}-", suffix=".lock", dir=parent) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = Path(lock.name).with_suffix("")
        folder.mkdir(mode=0o755)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned(parent: Path) -> None:
    """Remove the folders of tests that were killed: their locks are free."""
    for path in parent.glob("evpower-*.lock"):
        try:
            with path.open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if path.with_suffix("").exists():  # else it is only just being made
                    shutil.rmtree(path.with_suffix(""), ignore_errors=True)
                    path.unlink(missing_ok=True)
        except OSError:  # in use, of another user, or removed meanwhile
            continue


def _has_room() -> bool:
    return MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= ROOM_BYTES
