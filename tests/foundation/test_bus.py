"""The bus of one process, and the doorbell that wakes a loop."""

from uuid import UUID, uuid4

from evpower.foundation.bus import Doorbell, LocalBus, Topic


def test_a_listener_hears_every_change_until_it_ends() -> None:
    bus, heard = LocalBus(), list[tuple[Topic, UUID]]()
    client, session = uuid4(), uuid4()
    end = bus.subscribe(lambda topic, key: heard.append((topic, key)))
    bus.publish("client", client)
    bus.publish("session", session)
    end()
    bus.publish("supabase", UUID(int=0))
    assert heard == [("client", client), ("session", session)]


def test_a_listener_may_end_itself_while_it_is_called() -> None:
    bus, heard = LocalBus(), list[str]()

    def once(topic: Topic, _key: UUID) -> None:
        heard.append(f"once {topic}")
        end()

    end = bus.subscribe(once)
    bus.subscribe(lambda topic, _key: heard.append(f"always {topic}"))
    bus.publish("client", uuid4())
    bus.publish("session", uuid4())
    assert heard == ["once client", "always client", "always session"]


async def test_rings_are_merged_and_a_ring_during_work_is_not_lost() -> None:
    bell = Doorbell()
    bell.ring()
    bell.ring()
    assert await bell.wait(5)
    assert not await bell.wait(0.001)
    bell.ring()  # while the loop works
    assert await bell.wait(5)
