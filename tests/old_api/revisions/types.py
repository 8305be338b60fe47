"""Types of the apps' rules. Strict: a number as text, or a whole number as a flag, is refused.

`X = ABSENT`: may be missing, not null. `X | None = None`: may be missing or null. Unknown members
are passed over, as all revisions do.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

ABSENT: Final[Any] = None  # pydantic does not check a default

Text = Annotated[str, StringConstraints(min_length=0)]
Filled = Annotated[str, StringConstraints(min_length=1)]
Number = int | float
Positive = Annotated[float, Field(gt=0)]
Zulu = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")]
Picture = Annotated[str, StringConstraints(pattern=r"^https://")]
Yes = Literal[True]
PaymentStatus = Annotated[int, Field(ge=0, le=4)]
SessionWord = Literal["started", "stopped"]
LimitType = Literal["energy", "amount", "none"]
LocationWord = Literal["available", "partial", "occupied", "offline", "maintenance"]
OldStationWord = Literal["active", "inactive", "offline", "maintenance"]
NewStationWord = Literal["available", "occupied", "offline", "maintenance"]


class Read(BaseModel):
    """What an app reads of an object."""

    model_config = ConfigDict(strict=True, extra="ignore")
