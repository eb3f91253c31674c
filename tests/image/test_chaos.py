"""A relay's promise is the 250 it gave. Here everything fails that can, one round of it; `make chaos` has the long form."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.chaos.ledger import Outcome
from tests.chaos.run import Plan, chaos
from tests.chaos.sender import Load
from tests.image.engine import Engine


@pytest.mark.flaky(rerun_except="^AssertionError")
def test_nothing_that_was_accepted_is_lost_and_nothing_comes_twice_without_need(
    docker: Engine, tmp_path: Path
) -> None:
    """Another order of events each time; a failure prints the seed and both sides of what was lost."""
    plan = Plan(
        seed=random.SystemRandom().randrange(10_000),
        messages=500,
        lasts=1.5,
        gap=2.0,
        drain=60,
        load=Load(sessions=8, logins=True, pause=0.1),
    )
    ledger = chaos(docker, tmp_path, plan)
    assert ledger.lost() == []
    assert ledger.unmended == ""
    assert ledger.mangled() == []
    assert ledger.unexplained() == []
    assert ledger.unclean() == []
    # Else a message that came again after the relay knew that it was delivered would not be seen.
    assert ledger.told() >= plan.messages
    assert [double for double in ledger.duplicates() if double.avoidable] == []
    assert ledger.outcomes()[Outcome.ACCEPTED] >= plan.messages
