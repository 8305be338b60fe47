"""Returns the stations as an import takes them; passwords are hashes here, and in no file."""

from evpower.foundation.db import Connection
from evpower.stations.find import list_stations
from evpower.stations.model import Connector, ConnectorDraft, StationDraft, StationView
from evpower.stations.names import key_of
from evpower.stations.profile_files import override_text


async def export_stations(connection: Connection) -> list[StationDraft]:
    """Returns every station by id, retired ones too."""
    return [draft_of(view) for view in await list_stations(connection, with_retired=True)]


def draft_of(view: StationView) -> StationDraft:
    """Returns a stored station as an operator describes it."""
    station = view.station
    own = {key_of(station.id), key_of(station.post_code)}
    return StationDraft(
        id=station.id,
        location=view.location,
        connectors=tuple(_connector_draft(connector) for connector in view.connectors),
        names=tuple(name for name in view.names if key_of(name.name) not in own),
        post_code=station.post_code,
        owner=station.owner,
        availability=station.wanted_availability,
        no_auth=station.no_auth,
        paid_only=station.paid_only,
        cards_without_auth=station.cards_without_auth,
        is_simulated=station.is_simulated,
        pinned_version=station.pinned_version,
        is_retired=station.retired_at is not None,
        profile=view.profile.profile.name if view.profile.is_chosen else None,
        profile_members=tuple(
            (member, override_text(value))
            for member, value in sorted(view.profile.overrides.items())
        ),
    )


def _connector_draft(connector: Connector) -> ConnectorDraft:
    return ConnectorDraft(
        number=connector.number,
        standard=connector.standard,
        format=connector.format,
        power_type=connector.power_type,
        rated_power_w=connector.rated_power_w,
        evse_number=connector.evse_number,
        evse_connector=connector.evse_connector,
        evse_id=connector.evse_id,
    )
