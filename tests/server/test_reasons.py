"""What a person is told to do when a round failed: what helps against that cause, and nothing else."""

from __future__ import annotations

import pytest

from common.errors import PUBLIC_CODES
from server.lost import Lost, Refused
from server.run.reasons import ways_out

GOES_ON_AS_IT_IS = "start `wardround site up` again"


def lost(text: str) -> Lost:
    found = Lost.parse(text)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("why", "words", "never"),
    [
        ("round: refused: budget", "wardround finish first", "start `wardround site up`"),
        ("confirm: refused: answered", "allow-set", "start `wardround site up`"),
        ("join: refused: busy", "wait for that run", "mend"),
        ("join: refused: not_approved", "have them approve", "mend"),
        ("join: refused: data", "mend their data", "seed"),
        ("round: no answer in time", GOES_ON_AS_IT_IS, "mend"),
        ("round: connection lost", GOES_ON_AS_IT_IS, "mend"),
        ("round: refused: error", "their own logs", "seed"),
    ],
)
def test_the_advice_follows_the_cause(why: str, words: str, never: str) -> None:
    """All of these were answered with: mend the sites, and go on."""
    told = ways_out([lost(why)], "first")
    assert words in told.lower() and never not in told.lower()
    assert "wardround resume first" in told


def test_each_cause_is_answered_once() -> None:
    told = ways_out([*[lost("round: refused: budget")] * 2, lost("round: connection lost")], "first")
    assert told.count("finish") == 1 and GOES_ON_AS_IT_IS in told


def test_every_code_has_an_answer() -> None:
    for code in PUBLIC_CODES:
        assert len(ways_out([Lost("round", Refused(code))], "first")) > 60, code
