"""What commands tell of a state: figures that are what they say, and no inside of the program."""

from dataclasses import replace

import pytest
from typer.testing import CliRunner

from evpower.cli.app import app
from evpower.cli.sync import _next_step
from evpower.cli.sync_report import facts_text, print_loops
from evpower.foundation.loop_rounds import LoopRounds
from evpower.sync import RunResult
from evpower.sync.model import ClientDigest
from evpower.sync.reconciliation.drift import Drift, DriftKind

DIGEST = ClientDigest(
    id="1", balance_minor=-2000, version=3, status="active", count=3, sum_minor=-2000, last=3,
    moment=29174090, history="58a8c4f8", written=False,
)  # fmt: skip
ALIVE = LoopRounds(
    node="a", loop="relay", finished_at=None, idle_s=0.0, error="", overdue=False, seen_s=1.0,
    lost=False,
)  # fmt: skip


def test_a_difference_is_told_in_words_and_som() -> None:
    text = facts_text(DIGEST, ("balance_minor", "version"))
    assert text == "balance -20.00, version 3"
    assert facts_text(None, ("balance_minor",)) == "nothing"
    whole = facts_text(DIGEST, ())
    assert "balance -20.00" in whole
    for inside in ("58a8c4f8", "29174090", "written", "Digest", "_minor"):
        assert inside not in whole


def checked(*kinds: DriftKind, differ: int) -> RunResult:
    drift = tuple(Drift("client", str(at), kind, None, None) for at, kind in enumerate(kinds))
    return RunResult(0, 0, 0, 0, 0, 0, drift, 0, differ=differ)


@pytest.mark.parametrize(
    ("result", "repaired", "step"),
    [
        (checked("opening", "opening", differ=2), False, "sync import-balances"),
        (checked("opening", differ=1), True, "sync import-balances"),
        (checked("opening", differ=2), False, "sync check --repair"),  # the rest is not shown
        (checked("opening", "balance", differ=2), False, "sync check --repair"),
        (checked("ahead", differ=1), True, "docs/runbook.md"),
    ],
)
def test_the_next_step_is_one_that_helps(result: RunResult, step: str, *, repaired: bool) -> None:
    assert step in _next_step(result, repaired=repaired)


def lines(capsys: pytest.CaptureFixture[str], *loops: LoopRounds) -> list[str]:
    print_loops(loops)
    return capsys.readouterr().out.splitlines()


def test_nodes_that_are_gone_are_not_counted_among_those_that_work(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lost_loop = replace(ALIVE, node="b", lost=True, overdue=True, seen_s=105.0)
    assert lines(capsys, ALIVE, lost_loop, replace(lost_loop, loop="puller")) == [
        "loops      1 on 1 node, all finish their rounds",
        "           b was last seen 105 s ago",
    ]
    assert lines(capsys, lost_loop)[0] == "loops      none: no process runs (evpower serve)"
    late = replace(ALIVE, node="c", overdue=True, idle_s=70.0)
    assert lines(capsys, ALIVE, late) == [
        "loops      2 on 2 nodes, 1 stand still",
        "           relay on c: no round finished for 70 s",
    ]


def test_replay_names_the_topic_that_is_none() -> None:
    done = CliRunner().invoke(app, ["sync", "replay", "payment", "x"])
    assert done.exit_code == 1
    assert "there is no topic 'payment'" in done.stderr
    done = CliRunner().invoke(app, ["sync", "replay", "client"])
    assert "name a topic and an id" in done.stderr
