"""The two families of the old API, and what their calls do."""

from typing import Final, Literal

from evpower.config import OldOperation

# mobile: `/api/...`, of the oldest app. v1: `/api/v1/...`, of the apps R1 to HEAD.
Family = Literal["mobile", "v1"]
# What a call does, where a switch decides whether it may come without a token.
Operation = OldOperation
PREFIXES: Final[dict[Family, str]] = {"mobile": "/api", "v1": "/api/v1"}
