"""A file of the source is read at one sitting: a longer one is divided along its meaning."""

from tests.snapshots.layers import SOURCE

LINES = 400  # a file has fewer


def test_no_file_of_the_source_is_too_long() -> None:
    lengths = {
        str(path.relative_to(SOURCE)): len(path.read_text().splitlines())
        for path in SOURCE.rglob("*.py")
        if "node_modules" not in path.parts
    }
    assert len(lengths) > 400, "the source is where it was"
    assert {name: lines for name, lines in lengths.items() if lines >= LINES} == {}
