"""Settings under the names they had in unreleased versions."""

from collections.abc import Mapping
from typing import Final

RENAMED_SETTINGS: Final[Mapping[str, str]] = {
    "EVPOWER_CHECK_HOT_S": "EVPOWER_CHECK_RECENT_S",
    "EVPOWER_KILL_FUSE": "EVPOWER_FAILPOINT_FILE",
}
