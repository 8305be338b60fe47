"""The bus of one process."""

from uuid import UUID, uuid4

from evpower.charging import SESSION_CHANGED
from evpower.foundation.bus import LocalBus, Topic
from evpower.identity import CLIENT_CHANGED
from evpower.sync.model import SUPABASE_CHANGED


def test_a_listener_hears_every_change_until_it_ends() -> None:
    bus, heard = LocalBus(), list[tuple[Topic, UUID]]()
    client, session = uuid4(), uuid4()
    end = bus.subscribe(lambda topic, key: heard.append((topic, key)))
    bus.publish(CLIENT_CHANGED, client)
    bus.publish(SESSION_CHANGED, session)
    end()
    bus.publish(SUPABASE_CHANGED, UUID(int=0))
    assert heard == [(CLIENT_CHANGED, client), (SESSION_CHANGED, session)]


def test_a_listener_may_end_itself_while_it_is_called() -> None:
    bus, heard = LocalBus(), list[str]()

    def once(topic: Topic, _key: UUID) -> None:
        heard.append(f"once {topic.name}")
        end()

    end = bus.subscribe(once)
    bus.subscribe(lambda topic, _key: heard.append(f"always {topic.name}"))
    bus.publish(CLIENT_CHANGED, uuid4())
    bus.publish(SESSION_CHANGED, uuid4())
    assert heard == ["once client", "always client", "always session"]
