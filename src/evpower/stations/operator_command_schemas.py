"""Commands as the operator API shows and takes them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from evpower.identity import ActReason
from evpower.stations.model import CommandAction, CommandState
from evpower.stations.outcomes import StationOutcome


class OperatedCommand(BaseModel):
    """A command with its outcome: the station's answer is in `response`."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    station: Annotated[str, Field(validation_alias="station_id")]
    connector: int | None
    action: CommandAction
    arguments: Annotated[Mapping[str, Any], Field(validation_alias="payload")]
    state: Annotated[
        CommandState, Field(description="`timed_out`: whether it was carried out is unknown")
    ]
    actor: str
    created_at: datetime
    expires_at: datetime
    sent_at: datetime | None
    ended_at: datetime | None
    response: Mapping[str, Any] | None
    bulk_id: UUID | None


class CommandRequest(BaseModel):
    """What one command and many have in common."""

    model_config = ConfigDict(extra="forbid")

    action: CommandAction
    reason: ActReason
    arguments: Annotated[dict[str, str | int], Field(max_length=10)] = {}
    expires_in_s: Annotated[
        int, Field(ge=1, le=86_400, description="After that it is not sent any more")
    ] = 60
    wait_s: Annotated[
        float, Field(ge=0, le=25, description="Wait so long for outcomes; 0: answer at once")
    ] = 0

    def texts(self) -> dict[str, str]:
        """Returns the arguments as a command takes them."""
        return {name: str(value) for name, value in self.arguments.items()}


class NewCommand(CommandRequest):
    """A command to a station."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "action": "reset",
                "arguments": {"kind": "soft"},
                "reason": "hangs, call 4711",
                "wait_s": 20,
            }
        },
    )


class NewBulkCommand(CommandRequest):
    """One command to many stations: those named, or all of a location."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "stations": ["EVP-0042", "EVP-0043"],
                "action": "trigger",
                "arguments": {"message": "status_notification"},
                "reason": "after the power cut",
                "wait_s": 20,
            }
        },
    )

    stations: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=255)]], Field(max_length=500)
    ] = []
    location: Annotated[str | None, Field(max_length=200, description="Its id or name")] = None


class BulkResult(BaseModel):
    """What became of a bulk command at one station."""

    station: str
    outcome: Annotated[
        StationOutcome,
        Field(
            description="`offline`: not sent, the station is not there. `waiting`: no outcome yet. "
            "`timed_out`: sent, and not answered: whether it was carried out is unknown"
        ),
    ]
    command: Annotated[int | None, Field(description="Null: the station was not asked")]
    error: Annotated[str | None, Field(description="Why it was not asked: `station_not_found`")]
    response: Mapping[str, Any] | None


class BulkCommand(BaseModel):
    """A bulk command, with a result for each station."""

    id: UUID
    action: CommandAction
    counts: Annotated[
        dict[StationOutcome, int], Field(description="How many stations of each outcome")
    ]
    results: list[BulkResult]
