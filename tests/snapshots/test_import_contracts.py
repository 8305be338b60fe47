"""The contracts of lint-imports name every module that they are about."""

import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "evpower"
OLD = "evpower.api.legacy"


def contract(name: str) -> dict[str, Any]:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    [fits] = [
        contract
        for contract in config["tool"]["importlinter"]["contracts"]
        if contract["name"] == name
    ]
    return fits


def modules(folder: Path, name: str) -> set[str]:
    """What lies in a package, without what lies deeper."""
    return {
        f"{name}.{path.stem}"
        for path in folder.iterdir()
        if (path.suffix == ".py" or (path / "__init__.py").is_file())
        and not path.name.startswith("_")
    }


EDGE = modules(PACKAGE / "api", "evpower.api") - {OLD}


def layers() -> list[str]:
    listed = contract("The layers: top may import below, neighbours never each other")["layers"]
    names = [name.strip() for row in listed for name in row.replace(":", "|").split("|")]
    return [f"evpower.{name}" for name in names if not name.startswith("_")]


def test_the_edge_is_all_of_the_api_but_the_old_contract() -> None:
    edge = contract("The HTTP edge knows no slice")
    assert set(edge["source_modules"]) == EDGE
    below = layers()[layers().index("evpower.api") :]
    not_slices = {"evpower.api", "evpower.config", "evpower.foundation"}
    assert set(edge["forbidden_modules"]) == set(below) - not_slices


def test_all_but_bootstrap_are_kept_from_the_old_contract() -> None:
    old = contract("Only bootstrap imports the old contract")
    assert old["forbidden_modules"] == [OLD]
    others = set(layers()) - {"evpower.api", "evpower.bootstrap"}
    assert set(old["source_modules"]) == others | EDGE
