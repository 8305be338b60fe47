"""Where messages may be sent: to push services, and never into a network."""

import pytest

from evpower.foundation.errors import Invalid
from evpower.push.hosts import MAX_ENDPOINT, read_hosts
from tests.push.scenario import settings_for

HOSTS = read_hosts("fcm.googleapis.com, *.push.apple.com", may_be_local=False)


@pytest.mark.parametrize(
    "url",
    [
        "https://fcm.googleapis.com/fcm/send/abc:def",
        "https://fcm.googleapis.com:443/wp/x?y=1",
        "https://web.push.apple.com/Qabc",
        "https://FCM.googleapis.com/wp/x",
    ],
)
def test_endpoints_of_push_services_are_accepted(url: str) -> None:
    assert HOSTS.check(url).url == url
    assert not HOSTS.check(url).is_local


@pytest.mark.parametrize(
    "url",
    [
        "", "abc", "http://fcm.googleapis.com/x", "ftp://fcm.googleapis.com/x",
        "https://fcm.googleapis.com:8443/x", "https://fcm.googleapis.com:99999/x",
        "https://fcm.googleapis.com.evil.example/x", "https://evilpush.apple.com.example/x",
        "https://push.apple.com/x", "https://a.evilpush.apple.co/x",
        "https://user@fcm.googleapis.com/x", "https://user:p@fcm.googleapis.com/x",
        "https://fcm.googleapis.com@evil.example/x", "https://evil.example/fcm.googleapis.com",
        "https://evil.example\\@fcm.googleapis.com/x", "https://fcm.googleapis.com/x#part",
        "https://127.0.0.1/x", "https://[::1]/x", "https://169.254.169.254/latest/meta-data",
        "https://localhost/x", "https://10.0.0.1/x", "https://2130706433/x", "https://0/x",
        "https://fcm.googleapis.com./x", "https:///x", "https://fcm.googleapis.com/\nx",
        "https://fcm.googleapis.com/ x", "https://fcm.googleapis.com/\u0430", "//x", "https://[",
        "https://fcm.googleapis.com/" + "x" * MAX_ENDPOINT, "https://.push.apple.com@1.1.1.1/",
        "http://127.0.0.1:8100/x",
    ],
)  # fmt: skip
def test_every_other_address_is_refused(url: str) -> None:
    with pytest.raises(Invalid, match="endpoint") as refused:
        HOSTS.check(url)
    assert refused.value.code == "subscription_invalid"


@pytest.mark.parametrize(
    "text",
    ["*", "*.", "com", "fcm googleapis.com", "https://fcm.googleapis.com", "10.0.0.1", "[::1]",
     "*.*.example.com", "a..b", "-a.example", "fcm.googleapis.com:443", "a_b.example"],
)  # fmt: skip
def test_a_setting_that_names_no_host_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no host"):
        read_hosts(text, may_be_local=True)


@pytest.mark.parametrize(
    "text", ["http://127.0.0.1:8100", "http://localhost:8100", "http://[::1]:8100"]
)
def test_a_push_service_of_this_machine_is_for_development(text: str) -> None:
    hosts = read_hosts(text, may_be_local=True)
    assert hosts.check(f"{text}/x").is_local
    with pytest.raises(Invalid):
        hosts.check("http://127.0.0.1:8101/x")
    with pytest.raises(ValueError, match="is no host"):
        read_hosts(text, may_be_local=False)


@pytest.mark.parametrize(
    "text",
    ["http://10.0.0.1:80", "http://example.com:80", "http://127.0.0.1", "http://127.0.0.1:80/x"],
)
def test_no_other_plain_http_is_for_development(text: str) -> None:
    with pytest.raises(ValueError, match="is no host"):
        read_hosts(text, may_be_local=True)


def test_the_hosts_of_the_setting_are_usable() -> None:
    default = type(settings_for()).model_fields["push_hosts"].default
    hosts = read_hosts(default, may_be_local=False)
    for url in (
        "https://updates.push.services.mozilla.com/wpush/v2/g",
        "https://wns2-par02p.notify.windows.com/w/?token=x",
        "https://web.push.apple.com/Q",
        "https://fcm.googleapis.com/fcm/send/x",
    ):
        hosts.check(url)
