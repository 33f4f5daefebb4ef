"""Why a site was lost is a value: stored as it always was, read back in one place, and shown in words everywhere."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import PUBLIC_CODES, WardroundError, words_of
from server.lost import Leg, Lost, Refused, Silence, stored_words
from server.report.page import render
from tests.support.evidence import deployed, round_of
from tests.support.reading import read_page

LEGS = st.sampled_from(get_args(Leg))
WHYS = st.sampled_from(list(Silence)) | st.sampled_from(sorted(PUBLIC_CODES)).map(Refused)


@given(LEGS, WHYS)
def test_what_is_stored_is_read_back_and_has_words(leg: Leg, why: Refused | Silence) -> None:
    lost = Lost(leg, why)
    assert Lost.parse(str(lost)) == lost
    assert lost.words.startswith(f"{leg}: ") and "_" not in lost.words and "refused: " not in lost.words
    assert stored_words(str(lost)) == lost.words


@pytest.mark.parametrize("text", ["", "silent", "site_failed", "round", "round: ", "tea: no answer in time", "join: x"])
def test_what_another_release_stored_is_shown_as_it_is(text: str) -> None:
    assert Lost.parse(text) is None and stored_words(text) == text
    assert stored_words("round: refused: a_code_of_later") == "round: a_code_of_later"


def test_every_public_code_has_words_of_its_own() -> None:
    """Eight of 23 had none: the coordinator read "join: bad_study"."""
    words = {code: words_of(code) for code in PUBLIC_CODES}
    assert all(" " in said or said == "failed" for said in words.values())
    assert len({*words.values()}) == len(words) and words_of("nobody_has_it") == "nobody_has_it"


def test_a_code_without_words_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="say in `words` what strange means"):
        type("StrangeError", (WardroundError,), {"code": "strange"})


def test_a_report_shows_why_sites_were_lost_in_words() -> None:
    """It showed raw codes: "round: refused: site_failed"."""
    reasons = {"round: refused: site_failed": 2, "join: refused: bad_study": 1, "confirm: no answer in time": 1}
    page = read_page(render(deployed(rounds=(round_of(1, dropped=4, drop_reasons=reasons),)))).text
    assert "round: its agent does not answer" in page and "join: cannot read this study as it is written" in page
    assert "confirm: no answer in time: 1" in page and "refused:" not in page and "site_failed" not in page
