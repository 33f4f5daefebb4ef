"""When a round that lost a site is tried again: by its attempts, or by its time where the others wait for that site."""

from __future__ import annotations

import time

from server.lost import Lost, Refused, Silence
from server.run.lost_sites import LostSites

ANSWERED, AWAY = {"east": Lost("confirm", Refused("answered"))}, {"west": Lost("join", Silence.SILENT)}
FOUR = ("east", "north", "south", "west")


def test_without_a_site_that_waits_attempts_count_and_anybody_is_summed() -> None:
    lost = LostSites(600.0, FOUR)
    lost.begin()
    lost.heard(AWAY)
    assert lost.goes_on(4, 5) and not lost.goes_on(5, 5) and lost.only == ()


def test_a_site_that_waits_makes_the_round_wait_as_long_as_it_may_and_keeps_the_company_together() -> None:
    lost = LostSites(0.2, FOUR)
    lost.begin()
    lost.heard(ANSWERED)
    assert lost.only == FOUR
    assert lost.goes_on(100, 5), "its time is not over"
    time.sleep(0.25)
    assert not lost.goes_on(1, 5)
    lost.begin()
    assert lost.goes_on(0, 5), "the next round has its own time"
    lost.heard(AWAY)
    assert lost.goes_on(1, 5) and lost.only == FOUR


def test_who_has_no_time_to_wait_tries_again_as_often_as_others() -> None:
    lost = LostSites(0.0, FOUR)
    lost.begin()
    lost.heard(ANSWERED)
    assert lost.goes_on(4, 5) and not lost.goes_on(5, 5)


def test_nobody_is_waited_for_longer_than_the_round_has_left() -> None:
    lost = LostSites(0.2, FOUR)
    lost.begin()
    assert lost.left == float("inf"), "nobody is waited for yet"
    lost.heard(ANSWERED)
    assert 0.0 < lost.left <= 0.2
    time.sleep(0.25)
    assert lost.left == 0.0
