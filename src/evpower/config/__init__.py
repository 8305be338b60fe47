"""Settings, read once, in bootstrap. A production start with a missing or unsafe one fails."""

from evpower.config.flaws import is_project_address, problems, unknown
from evpower.config.settings import OldOperation, Settings

__all__ = ["OldOperation", "Settings", "is_project_address", "problems", "unknown"]
