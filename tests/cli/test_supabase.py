"""`evpower supabase`: clear refusals, and the webhook set and disabled for real."""

import json
from pathlib import Path
from uuid import uuid4

import asyncpg
import httpx
import pytest

from evpower import sync
from evpower.cli.supabase import webhook_url, what_is_wrong
from evpower.config import Settings
from evpower.devstack.stack import supabase_migrations
from evpower.devstack.supabase.server import LocalSupabase
from evpower.foundation.db import Connection
from tests.cli.test_commands import GOOD, evpower
from tests.conftest import Server
from tests.waiting import WAIT_LIMIT_S

PATH = "/api/v1/webhooks/supabase"


@pytest.mark.parametrize(
    ("words", "env", "expected"),
    [
        ((), {}, "EVPOWER_PUBLIC_URL"),
        (("--url", "http://api.example.kg"), {}, "not https"),
        (("--url", "api.example.kg"), {}, "is no address"),
        (("--grace", "-1"), {}, "--grace"),
        ((), {"EVPOWER_PUBLIC_URL": "https://api.example.kg"}, "database"),
    ],
)
def test_rotation_that_can_not_be_says_why(
    tmp_path: Path, words: tuple[str, ...], env: dict[str, str], expected: str
) -> None:
    done = evpower(tmp_path, "supabase", "secret", "rotate", *words, env={**GOOD, **env})
    assert done.returncode != 0
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("given", "public", "expected"),
    [
        ("", "https://api.example.kg", f"https://api.example.kg{PATH}"),
        ("", "https://api.example.kg/", f"https://api.example.kg{PATH}"),
        ("https://other.kg", "https://api.example.kg", f"https://other.kg{PATH}"),
        ("https://other.kg/own/path", "", "https://other.kg/own/path"),
    ],
)
def test_address_is_completed(given: str, public: str, expected: str) -> None:
    settings = Settings.model_construct(public_url=public, env="production")
    assert webhook_url(settings, given) == expected


def _notification(
    *, pg_net: bool = True, url: str | None = "https://x", same: bool | None = True
) -> sync.WebhookStatus:
    return sync.WebhookStatus(pg_net, url, "vault", same, None, 0, None, 0, None)


def test_only_a_webhook_that_is_configured_can_be_wrong() -> None:
    assert what_is_wrong(_notification()) == ""
    assert what_is_wrong(_notification(url=None, pg_net=False, same=False)) == ""
    assert "pg_net is not installed" in what_is_wrong(_notification(pg_net=False))
    assert "does not accept" in what_is_wrong(_notification(same=False))
    assert "lost its secret" in what_is_wrong(_notification(same=None))


async def test_webhook_is_set_shown_and_disabled(
    server: Server, dsn: str, owner: Connection, tmp_path: Path
) -> None:
    await server.postgres.create_database("supabase_cli")
    local = LocalSupabase(
        server.dsn("supabase_cli"),
        port=None,
        state_dir=tmp_path,
        migrations_dir=supabase_migrations(),
    )
    await local.start()
    try:
        env = {
            "EVPOWER_ENV": "development",
            "EVPOWER_DATABASE_URL": dsn,
            "EVPOWER_SUPABASE_URL": local.url,
            "EVPOWER_SUPABASE_SECRET_KEY": local.secret_key,
            "EVPOWER_SUPABASE_PUBLISHABLE_KEY": local.publishable_key,
            "EVPOWER_SUPABASE_JWT_SECRET": local.jwt_secret,
            "EVPOWER_PUBLIC_URL": "http://127.0.0.1:9210",
        }
        off = evpower(tmp_path, "supabase", "status", "--json", env=env)
        assert json.loads(off.stdout)["url"] is None
        for retired in range(2):
            done = evpower(tmp_path, "supabase", "secret", "rotate", "--json", env=env)
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout)["retired"] == retired
        now = json.loads(evpower(tmp_path, "supabase", "status", "--json", env=env).stdout)
        assert (now["url"], now["same"]) == (f"http://127.0.0.1:9210{PATH}", True)
        assert (now["arrived"], "failed" in now["wrong"]) == (False, True)  # nothing listens there
        assert "whsec_" not in done.stdout + done.stderr
        ended = evpower(tmp_path, "supabase", "secret", "rotate", "--grace", "0", env=env)
        assert "2 older ones are not accepted any more" in ended.stdout
        map_word = ("sync", "words", "map", "Frozen", "blocked", "--reason", "as before")
        mapped = evpower(tmp_path, *map_word, env=env)
        assert mapped.returncode == 1
        assert "no client in Supabase has the word 'Frozen'" in mapped.stderr
        assert await owner.fetch("select from sync.status_words") == []
        there: Connection = await asyncpg.connect(server.dsn("supabase_cli"))
        await there.execute(
            "insert into public.clients (id, status) values ($1, 'Frozen')", uuid4()
        )
        await there.close()
        mapped = evpower(tmp_path, *map_word, env=env)
        assert mapped.returncode == 0, mapped.stderr
        assert "'Frozen' means blocked" in mapped.stdout
        doctor = json.loads(evpower(tmp_path, "doctor", "--read-only", "--json", env=env).stdout)
        assert [
            finding["ok"] for finding in doctor if finding["name"] == "change notification"
        ] == [True]
        headers = {"apikey": local.secret_key}
        async with httpx.AsyncClient(
            base_url=local.url, headers=headers, timeout=WAIT_LIMIT_S
        ) as other:
            key = "whsec_" + "A" * 43 + "="
            body = {"payload": {"secret": key}}
            answer = await other.post("/rest/v1/rpc/evpower_webhook_configure", json=body)
            assert answer.status_code == 200
        wrong = evpower(tmp_path, "supabase", "status", env=env)
        assert wrong.returncode == 1
        assert "a secret that EvPower does not accept" in wrong.stderr
        assert evpower(tmp_path, "supabase", "webhook", "off", env=env).returncode == 0
        silent = evpower(tmp_path, "supabase", "status", env=env)
        assert (silent.returncode, "off: changes arrive" in silent.stdout) == (0, True)
    finally:
        await local.stop()
