"""What `evpower serve` refuses and `evpower doctor` names: settings that make no sense."""

import base64
import json
import re
from pathlib import Path

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from evpower.cli.app import app
from evpower.cli.renamed_settings import RENAMED_SETTINGS
from evpower.cli.settings import all_problems
from evpower.config import Settings, unknown
from tests.cli.test_commands import GOOD, evpower


def legacy_key(role: str) -> str:
    parts = ({"alg": "HS256"}, {"iss": "supabase", "role": role})
    head, claims = (base64.urlsafe_b64encode(json.dumps(part).encode()) for part in parts)
    return f"{head.rstrip(b'=').decode()}.{claims.rstrip(b'=').decode()}.c2lnbmF0dXJl"


WRONG = [
    ("EVPOWER_SUPABASE_URL", "https://project.supabase.co/rest/v1"),
    ("EVPOWER_SUPABASE_URL", "https://project.supabase.co/auth/v1/"),
    ("EVPOWER_SUPABASE_URL", "project.supabase.co"),
    ("EVPOWER_SUPABASE_URL", "https://project.supabase.co?apikey=x"),
    ("EVPOWER_PUBLIC_URL", "api.example.kg"),
    ("EVPOWER_CORS_ORIGINS", "https://app.example.kg,app.example.kg"),
    ("EVPOWER_CORS_ORIGINS", "https://app.example.kg/login"),
    ("EVPOWER_TRUSTED_PROXIES", "127.0.0.1,proxy"),
    ("EVPOWER_SUPABASE_PUBLISHABLE_KEY", "sb_secret_0123456789"),
    ("EVPOWER_SUPABASE_PUBLISHABLE_KEY", legacy_key("service_role")),
    ("EVPOWER_SUPABASE_SECRET_KEY", legacy_key("anon")),
    ("EVPOWER_TOPUP_MAX_SOM", "9"),
    ("EVPOWER_PAYMENT_QR_PROVIDER", "visa"),
    ("EVPOWER_ALERT_TIME_ZONE", "Asia/Frunze2"),
    ("EVPOWER_ALERT_TIME_ZONE", "localtime"),
    ("EVPOWER_ALERT_TLS_HOSTS", "ocpp.example.kg:https"),
    ("EVPOWER_ALERT_WEBHOOK_SECRET", "whsec_" + "c2VjcmV0" * 6),
    ("EVPOWER_ALERT_EMAIL_TO", "aida@example.kg"),
]
# Settings that need each other, and the one that is named.
TOGETHER = [
    ({"alert_webhook_url": "https://hooks.example/x"}, "EVPOWER_ALERT_WEBHOOK_SECRET"),
    (
        {"alert_webhook_url": "ftp://hooks", "alert_webhook_secret": "s" * 24},
        "EVPOWER_ALERT_WEBHOOK_URL",
    ),
    (
        {"alert_webhook_url": "https://h.example", "alert_webhook_secret": "whsec_ä"},
        "EVPOWER_ALERT_WEBHOOK_SECRET",
    ),
    (
        {"alert_webhook_url": "https://h.example", "alert_webhook_secret": "whsec_c2VjcmV0"},
        "EVPOWER_ALERT_WEBHOOK_SECRET",
    ),
    (
        {
            "alert_smtp_url": "mail.example",
            "alert_email_from": "a@example.kg",
            "alert_email_to": "b@example.kg",
        },
        "EVPOWER_ALERT_SMTP_URL",
    ),
    (
        {"alert_smtp_url": "smtp://mail.example", "alert_email_to": "b@example.kg"},
        "EVPOWER_ALERT_EMAIL_FROM",
    ),
    (
        {
            "alert_smtp_url": "smtp://mail.example",
            "alert_email_from": "a@example.kg",
            "alert_email_to": "b@example.kg, bek",
        },
        "EVPOWER_ALERT_EMAIL_TO",
    ),
    (
        {
            "alert_smtp_url": "smtp://mail.example",
            "alert_email_from": "a@example.kg",
            "alert_email_to": "b@example.kg",
            "alert_smtp_ca": "/nowhere.pem",
        },
        "EVPOWER_ALERT_SMTP_CA",
    ),
]


def settings(**values: object) -> Settings:
    names = {name.removeprefix("EVPOWER_").lower(): value for name, value in GOOD.items()}
    return Settings(_env_file=None, **{**names, **values})  # pyright: ignore[reportCallIssue,reportArgumentType]


@pytest.mark.parametrize("env", ["production", "development"])
@pytest.mark.parametrize(("name", "value"), WRONG)
def test_what_makes_no_sense_is_named_before_the_start(name: str, value: str, env: str) -> None:
    problems = all_problems(settings(env=env, **{name.removeprefix("EVPOWER_").lower(): value}))
    assert [name in line for line in problems] == [True]


@pytest.mark.parametrize(("values", "name"), TOGETHER)
def test_settings_that_do_not_fit_each_other_are_named(values: dict[str, str], name: str) -> None:
    assert [name in line for line in all_problems(settings(**values))] == [True]


def test_a_webhook_in_clear_is_for_development() -> None:
    values = {"alert_webhook_url": "http://h.example", "alert_webhook_secret": "s" * 24}
    assert all_problems(settings(env="development", **values)) == []
    [problem] = all_problems(settings(env="production", **values))
    assert "EVPOWER_ALERT_WEBHOOK_URL is not https" in problem


@pytest.mark.parametrize("name", ["clock_file", "failpoint_file"])
def test_what_is_for_tests_is_refused_in_production(name: str) -> None:
    assert all_problems(settings(env="development", **{name: "a-file"})) == []
    [problem] = all_problems(settings(env="production", **{name: "a-file"}))
    assert f"EVPOWER_{name.upper()} is set" in problem


def test_a_key_in_the_wrong_place_is_not_quoted() -> None:
    key = legacy_key("service_role")
    assert key not in " ".join(all_problems(settings(supabase_publishable_key=key)))


@pytest.mark.parametrize(
    "values",
    [
        {"supabase_url": "https://project.supabase.co/"},
        {"supabase_url": "https://supabase.example.kg:8443/project"},
        {"cors_origins": "capacitor://localhost, https://localhost,https://app.example.kg/"},
        {"trusted_proxies": "127.0.0.1, 10.0.0.0/8,::1,"},
        {"supabase_publishable_key": legacy_key("anon")},
        {"supabase_secret_key": SecretStr(legacy_key("service_role"))},
        {"supabase_publishable_key": "a.%%%.c"},
        {"public_url": "https://api.example.kg/"},
    ],
)
def test_what_is_right_is_let_through(values: dict[str, object]) -> None:
    assert all_problems(settings(**values)) == []


def test_a_misspelt_setting_is_named_with_the_one_that_is_meant(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("EVPOWER_CHEK_AT=21:00\n")
    for command in ("serve", "doctor"):
        done = evpower(tmp_path, command, env={**GOOD, "EVPOWER_CHEK_REPAIR": "false"})
        output = done.stderr if command == "serve" else done.stdout
        assert done.returncode == 1
        assert "EVPOWER_CHEK_REPAIR is no setting: is EVPOWER_CHECK_REPAIR meant?" in output
        assert "EVPOWER_CHEK_AT is no setting: is EVPOWER_CHECK_AT meant?" in output


@pytest.mark.parametrize("env", ["production", "development"])
def test_an_old_name_of_a_setting_is_refused_with_the_new_one(tmp_path: Path, env: str) -> None:
    old, new = "EVPOWER_CHECK_HOT_S", "EVPOWER_CHECK_RECENT_S"
    for command in ("serve", "doctor"):
        done = evpower(tmp_path, command, env={**GOOD, "EVPOWER_ENV": env, old: "5"})
        output = done.stderr if command == "serve" else done.stdout
        assert done.returncode == 1
        assert f"{old} is {new} now: rename it" in output
        assert "meant?" not in output


def test_every_setting_that_the_changelog_calls_renamed_is_refused_with_its_new_name() -> None:
    changelog = (Path(__file__).parents[2] / "CHANGELOG.md").read_text()
    row = r"^\| setting `(EVPOWER_\w+)`.*\| `(EVPOWER_\w+)` \|$"
    rows = re.findall(row, changelog, re.MULTILINE)
    assert len(rows) == changelog.count("| setting `")
    assert dict(rows) == RENAMED_SETTINGS
    known = {f"EVPOWER_{field.upper()}" for field in Settings.model_fields}
    assert set(RENAMED_SETTINGS.values()) <= known
    assert not known & RENAMED_SETTINGS.keys()


def test_names_of_others_are_no_settings() -> None:
    assert unknown(["PATH", "POSTGRES_PASSWORD", "EVPOWER_TEST_X", "evpower_port"]) == []
    assert unknown(["EVPOWER_NOTHING_LIKE_IT"]) == ["EVPOWER_NOTHING_LIKE_IT is no setting"]


@pytest.mark.parametrize(
    "words",
    [
        ("serve", "--port", "65536"),
        ("serve", "--port", "-1"),
        ("dev", "--port", "99999"),
        ("dev", "--supabase-port", "-1"),
        ("dev", "--sandbox-port", "99999"),
        ("identity", "conflicts", "--run", str(2**63)),
        ("identity", "conflicts", "--limit", str(2**63)),
        ("identity", "confirm", "--run", "0"),
        ("identity", "revert", "--run", str(2**63)),
        (
            *("payments", "refund-charge", "--settlement", str(2**63), "--amount", "1"),
            *("--reference", "a", "--reason", "b"),
        ),
    ],
)
def test_a_number_out_of_range_is_refused_as_one(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert "Invalid value" in done.stderr
