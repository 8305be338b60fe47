"""Commands without a stack around them."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.waiting import COMMAND_S

GOOD = {
    "EVPOWER_DATABASE_URL": "postgres://stranger@127.0.0.1:1/none",
    "EVPOWER_SUPABASE_URL": "https://project.supabase.co",
    "EVPOWER_SUPABASE_SECRET_KEY": "sb_secret_0123456789",
    "EVPOWER_SUPABASE_PUBLISHABLE_KEY": "sb_publishable_0123456789",
}


def evpower(
    tmp_path: Path, *words: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("EVPOWER_")}
    return subprocess.run(
        [sys.executable, "-m", "evpower", *words],
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        cwd=tmp_path,
        env={**clean, **(env or {})},
        check=False,
    )


@pytest.mark.usefixtures("true_starts")
def test_a_production_start_without_settings_lists_all_that_is_missing(tmp_path: Path) -> None:
    done = evpower(tmp_path, "serve")
    assert done.returncode == 1
    for name in GOOD:
        assert name in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EVPOWER_SUPABASE_URL", "http://project.example"),
        ("EVPOWER_SUPABASE_SECRET_KEY", "sb_publishable_0123456789"),
        ("EVPOWER_SUPABASE_JWT_SECRET", "short"),
        ("EVPOWER_SANDBOX_URL", "http://127.0.0.1:9211"),
        ("EVPOWER_PAYMENT_QR_PROVIDER", "sandbox"),
        ("EVPOWER_PAYMENT_REPORT_COLUMNS", "amount"),
        ("EVPOWER_CORS_ORIGINS", "*"),
        ("EVPOWER_NATS_URL", "http://nats:4222"),
    ],
)
def test_an_unsafe_production_start_is_refused(tmp_path: Path, name: str, value: str) -> None:
    done = evpower(tmp_path, "serve", env={**GOOD, name: value})
    assert done.returncode == 1
    assert name.split("_URL", maxsplit=1)[0] in done.stderr.replace("*", "URL")
    assert "Traceback" not in done.stderr


def test_a_setting_that_makes_no_sense_is_named(tmp_path: Path) -> None:
    done = evpower(tmp_path, "serve", env={**GOOD, "EVPOWER_PORT": "many"})
    assert done.returncode == 1
    assert "EVPOWER_PORT" in done.stderr


@pytest.mark.usefixtures("true_starts")
@pytest.mark.parametrize("words", [("migrate",), ("ledger", "verify"), ("sync", "status")])
def test_a_database_that_does_not_answer_is_one_line(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    done = evpower(tmp_path, *words, env=GOOD)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "error" in done.stderr


def test_doctor_names_the_fix_of_what_is_wrong(tmp_path: Path) -> None:
    env = {**GOOD, "EVPOWER_SUPABASE_URL": "https://127.0.0.1:1"}
    done = evpower(tmp_path, "doctor", env=env)
    assert done.returncode == 1
    assert "fix: check EVPOWER_DATABASE_URL" in done.stdout
    assert "fix: check EVPOWER_SUPABASE_URL" in done.stdout
    assert "Traceback" not in done.stderr


def test_help_is_quick_and_names_every_command(tmp_path: Path) -> None:
    done = evpower(tmp_path, "--help")
    assert done.returncode == 0
    for name in ("serve", "migrate", "doctor", "dev", "demo", "ledger", "sync", "keys", "payments"):
        assert name in done.stdout


@pytest.mark.parametrize("words", [(), ("--reason", "cut-over", "--dry-run"), ("--help",)])
def test_the_old_name_of_import_balances_names_the_new_one(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    done = evpower(tmp_path, "sync", "adopt", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: evpower sync adopt is now evpower sync import-balances.\n"


def test_help_of_sync_hides_the_old_name_of_import_balances(tmp_path: Path) -> None:
    done = evpower(tmp_path, "sync", "--help")
    assert "import-balances" in done.stdout
    assert "adopt" not in done.stdout
