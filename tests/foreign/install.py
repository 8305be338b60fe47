"""`python -m tests.foreign.install`: ocpp-rpc, a charge point of another maker, with npm."""

import sys
from pathlib import Path
from typing import Final

from evpower.devstack.errors import DevstackError
from evpower.devstack.supabase.install import install

HERE: Final = Path(__file__).parent


def main() -> int:
    """Return 1 after one line on stderr when it fails."""
    try:
        install(HERE)
    except DevstackError as error:
        sys.stderr.write(f"The foreign charge point of the tests is not installed: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
