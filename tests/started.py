"""A process that says what it is.

With the word `conftest` it imports that first, with `wait` it then waits for its end.
"""

import json
import os
import random
import signal
import sys
from importlib import import_module
from pathlib import Path

PROC = Path("/proc/self")  # there is none but on Linux

if __name__ == "__main__":
    if "conftest" in sys.argv:
        import_module("tests.conftest")
    lines = (PROC / "status").read_text().splitlines() if PROC.exists() else []
    status = dict(line.split(":\t", 1) for line in lines)
    facts = {
        "words": sys.argv[1:],
        "folder": [str(Path.cwd()), sys.path[0]],
        "environment": dict(os.environ),
        "pid": os.getpid(),
        "parent": os.getppid(),
        "leads": [os.getsid(0) == os.getpid(), os.getpgrp() == os.getpid()],
        "signals": [status.get(name) for name in ("SigBlk", "SigIgn", "SigCgt")],
        "threads": status.get("Threads"),
        "files": [file.name for file in PROC.glob("fd/*") if file.exists()],
        "streams": [
            [stream.encoding, stream.errors, stream.line_buffering, stream.isatty()]
            for stream in (sys.stdin, sys.stdout, sys.stderr)
        ],
        "random": random.random(),
        "modules": len(sys.modules),
        "conftest": "tests.conftest" in sys.modules,
    }
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()
    sys.stderr.write(sys.stdin.readline())
    if "wait" in sys.argv:
        signal.pause()
    sys.exit(3)
