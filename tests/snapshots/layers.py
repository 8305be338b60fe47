"""The slices of `src/evpower` in their order, as pyproject.toml writes it for import-linter."""

import tomllib
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
SOURCE: Final = ROOT / "src" / "evpower"
_CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
    "contracts"
]
_LAYERS: list[str] = next(
    contract["layers"] for contract in _CONTRACTS if contract["type"] == "layers"
)
LEVELS: Final = {
    slice_.strip(): level
    for level, layer in enumerate(reversed(_LAYERS))
    for slice_ in layer.replace(":", "|").split("|")
}


def slice_of(path: Path) -> str:
    """Returns the slice a file belongs to; a module of the package itself is one."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def is_above(reader: str, owner: str) -> bool:
    """Whether a slice stands above another one."""
    return LEVELS[reader] > LEVELS[owner]
