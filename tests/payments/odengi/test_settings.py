"""O!Dengi's settings: what starts, what is refused, and what the adapter is made of."""

import pytest
from pydantic import SecretStr

from evpower import payments
from evpower.config import Settings
from evpower.foundation.http import HttpClient
from evpower.payments.providers.odengi import OdengiProvider, merchant, report_hosts

COMPLETE = {
    "odengi_url": "https://api.dengi.o.kg",
    "odengi_sid": "1000000001",
    "odengi_password": SecretStr("a password of the API"),
}


def settings(**changes: object) -> Settings:
    values = {"env": "production", **COMPLETE, **changes}
    return Settings(_env_file=None, **values)  # pyright: ignore[reportCallIssue, reportArgumentType]


def test_a_complete_set_is_the_provider() -> None:
    assert payments.odengi_problems(settings()) == []
    whole = settings(payment_qr_provider="odengi", public_url="https://api.example.kg")
    assert payments.provider_problem(whole) == ""
    providers = payments.configured_providers(whole, HttpClient())
    assert isinstance(providers.qr, OdengiProvider)
    assert providers.qr._notice_url == "https://api.example.kg/api/v1/payment/webhook/odengi"


def test_none_of_it_is_no_provider_and_no_problem() -> None:
    bare = settings(odengi_url="", odengi_sid="", odengi_password=SecretStr(""))
    assert payments.odengi_problems(bare) == []
    assert payments.configured_providers(bare, HttpClient()).names == []


@pytest.mark.parametrize("name", COMPLETE)
def test_a_part_of_it_is_refused(name: str) -> None:
    empty = SecretStr("") if name == "odengi_password" else ""
    part = settings(payment_qr_provider="odengi", **{name: empty})
    [problem] = payments.odengi_problems(part)
    assert problem.startswith(f"EVPOWER_{name.upper()} is missing")
    assert "EVPOWER_ODENGI_URL" in payments.provider_problem(part)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"odengi_url": "http://api.dengi.o.kg"}, "not https"),
        ({"odengi_url": "api.dengi.o.kg"}, "must read https://host"),
        ({"odengi_url": "https://user:word@api.dengi.o.kg"}, "must read https://host"),
        ({"odengi_url": "https://api.dengi.o.kg/api"}, "must read https://host"),
        ({"odengi_url": "https://api.dengi.o.kg/json.php?a=1"}, "must read https://host"),
        ({"odengi_sid": "10 00"}, "SID holds"),
        ({"odengi_password": SecretStr("s3cr3t")}, "shorter than 8"),
        ({"odengi_test": True}, "TEST is on"),
        ({"odengi_report_hosts": "https://reports.example"}, "REPORT_HOSTS must read"),
    ],
)
def test_what_is_unsafe_is_refused_without_quoting_a_secret(
    changes: dict[str, object], text: str
) -> None:
    wrong = settings(**changes)
    problems = payments.odengi_problems(wrong)
    assert [text in problem for problem in problems] == [True]
    assert wrong.odengi_password.get_secret_value() not in problems[0]


def test_test_bills_and_plain_http_are_for_development() -> None:
    local = settings(env="development", odengi_url="http://127.0.0.1:9212", odengi_test=True)
    assert payments.odengi_problems(local) == []


def test_the_path_is_added_to_a_host_alone() -> None:
    assert merchant(settings()).url == "https://api.dengi.o.kg/api/json/json.php"
    whole = settings(odengi_url="https://api.dengi.o.kg/other/json.php")
    assert merchant(whole).url == "https://api.dengi.o.kg/other/json.php"


def test_files_come_from_the_api_s_host_unless_others_are_named() -> None:
    assert report_hosts(settings()) == ["api.dengi.o.kg"]
    named = settings(odengi_report_hosts=" Files.example, b.example:8443 ")
    assert report_hosts(named) == ["files.example", "b.example:8443"]


def test_the_password_is_in_no_text_of_the_merchant() -> None:
    assert "a password" not in repr(merchant(settings()))
