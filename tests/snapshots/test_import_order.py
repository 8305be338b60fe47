"""Whatever module a process imports first, all it needs can be imported."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.snapshots.layers import SOURCE
from tests.snapshots.trees import one_worker, tree_of

Graph = dict[str, set[str]]


def source_files(root: Path) -> dict[str, Path]:
    """Every module of a package by its name."""
    files: dict[str, Path] = {}
    for path in root.rglob("*.py"):
        parts = path.relative_to(root.parent).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return files


def at_import(nodes: list[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports that run when their module is imported."""
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from at_import(node.orelse)
        elif isinstance(node, ast.If | ast.Try | ast.With | ast.ClassDef):
            for block in ("body", "orelse", "finalbody"):
                yield from at_import(getattr(node, block, []))
            for handler in getattr(node, "handlers", []):
                yield from at_import(handler.body)


def imports(root: Path) -> Graph:
    """What each module must find whole: what it names, and the packages those are in.

    Its own packages are being imported when it is.
    """
    files = source_files(root)
    graph: Graph = {}
    for module, path in files.items():
        named: set[str] = set()
        for node in at_import(tree_of(path.read_text()).body):
            if isinstance(node, ast.Import):
                named.update(alias.name for alias in node.names)
            else:
                assert node.module, f"{path}: a relative import"
                for alias in node.names:
                    below = f"{node.module}.{alias.name}"
                    named.add(below if below in files else node.module)
        own = {module.rsplit(".", count)[0] for count in range(1, module.count(".") + 1)}
        around = {
            name.rsplit(".", count)[0] for name in named for count in range(1, name.count(".") + 1)
        }
        graph[module] = (named | (around - own)).intersection(files) - {module}
    return graph


def circle(graph: Graph) -> list[str]:
    """Returns the modules of a circle, or none."""
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        for needed in sorted(graph[module]):
            if ring := visit(needed, [*path, module]):
                return ring
        done.add(module)
        return []

    return next(filter(None, (visit(module, []) for module in graph)), list[str]())


@one_worker
def test_no_module_imports_itself_through_others() -> None:
    """Then it would depend on which is imported first, and the tests' processes import all."""
    graph = imports(SOURCE)
    assert circle(graph) == []
    assert graph["evpower.__main__"] == {"evpower.cli"}


def test_a_circle_is_seen(tmp_path: Path) -> None:
    root = tmp_path / "some"
    files = {
        "__init__": "", "a/__init__": "from some.a.b import B", "a/b": "B = 1",
        "c": "from some.a import b", "d": "if TYPE_CHECKING:\n    import some.c",
    }  # fmt: skip
    for name, text in files.items():
        path = root / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert circle(imports(root)) == []
    (root / "a/b.py").write_text("try:\n    from some.c import b\nexcept ImportError:\n    pass")
    assert set(circle(imports(root))) == {"some.a", "some.a.b", "some.c"}
