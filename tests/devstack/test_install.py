"""Installing npm packages fails in one line when there is no registry."""

import shutil
from pathlib import Path

import pytest

from evpower.devstack.errors import DevstackError
from evpower.devstack.supabase.install import install
from evpower.devstack.supabase.server import SERVER_DIR


def test_unreachable_registry_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(SERVER_DIR / name, tmp_path)
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))
    with pytest.raises(DevstackError, match="can't reach its registry") as caught:
        install(tmp_path)
    assert "\n" not in str(caught.value)
