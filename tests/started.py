"""A process that says what it is, and with the word `wait` then waits for its end."""

import json
import os
import random
import signal
import sys
from pathlib import Path

if __name__ == "__main__":
    status = dict(
        line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines()
    )
    facts = {
        "words": sys.argv[1:],
        "folder": [str(Path.cwd()), sys.path[0]],
        "environment": dict(os.environ),
        "parent": os.getppid(),
        "leads": [os.getsid(0) == os.getpid(), os.getpgrp() == os.getpid()],
        "signals": [status[name] for name in ("SigBlk", "SigIgn", "SigCgt")],
        "threads": status["Threads"],
        "files": [file.name for file in Path("/proc/self/fd").iterdir() if file.exists()],
        "streams": [
            [stream.encoding, stream.errors, stream.line_buffering, stream.isatty()]
            for stream in (sys.stdin, sys.stdout, sys.stderr)
        ],
        "random": random.random(),
        "modules": len(sys.modules),
    }
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()
    sys.stderr.write(sys.stdin.readline())
    if "wait" in sys.argv:
        signal.pause()
    sys.exit(3)
