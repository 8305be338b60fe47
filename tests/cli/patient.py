"""`evpower ...` in a process of its own, that gives NATS all the time of a busy machine.

A command that may fail to tell the nodes in time is right; where a test is about what it tells, it
must not. Run as a script: `python tests/cli/patient.py payments cash ...`.
"""

from pathlib import Path
from typing import Final

PATIENT: Final = Path(__file__)
_WAIT_LIMIT_S: Final = 60

if __name__ == "__main__":
    from evpower.cli import main
    from evpower.foundation.bus import nats_bus, nats_link

    for bound in ("_CONNECT_S", "_OPEN_S", "_ROUND_TRIP_S"):
        assert hasattr(nats_link, bound)
        setattr(nats_link, bound, _WAIT_LIMIT_S)
    defaults = nats_bus.announce.__kwdefaults__
    assert "within_s" in defaults
    defaults["within_s"] = _WAIT_LIMIT_S
    main()
