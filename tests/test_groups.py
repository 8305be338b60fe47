"""Tests that share a stack run on one worker, which the runner has to take notice of."""

import os

import pytest

pytestmark = pytest.mark.xdist_group("groups")


def test_a_group_is_in_the_name_the_runner_sorts_by(request: pytest.FixtureRequest) -> None:
    assert "PYTEST_XDIST_WORKER" not in os.environ or request.node.nodeid.endswith("@groups")
