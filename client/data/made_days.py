"""Made days: of which number a spreadsheet may have made a day. 3-05 becomes `05. Mrz`, 2023-05 `May-23`, MAR1 `1-Mar`.

What it makes hangs on its language and on the year, and it cannot be told from the day which number it was: so all that
it may have been are sought. What stands for a day, and finds nobody, is looked at by a person.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, permutations

from client.data.look_alikes import folded
from client.data.ordinary import MONTHS

_LONGEST, _WORDS_OF_DAY = 32, 4  # signs and words of a day: `2024-05-03 00:00:00`, `1. May 2023 0:00`
_CLOCK = r"(?:[ t]0?0:00(?::00)?)?"
_WORDED = re.compile(
    rf"(?:(?P<day>\d{{1,4}})[\s.,/-]{{1,3}})?(?P<month>[^\W\d_]{{3,10}})\.?(?:[\s.,/-]{{1,3}}(?P<year>\d{{1,4}}))?{_CLOCK}"
)
_NUMBER_LIKE = re.compile(r"\d\d?-\d\d?-\d\d")
_FIGURES = re.compile(rf"(\d{{1,4}})([./-]) ?(\d{{1,2}})\2 ?(\d{{1,4}}){_CLOCK}")
_IDEOGRAPHS = re.compile(r"(?:(\d{2,4})[年년]\s?)?(\d{1,2})[月월]\s?(?:(\d{1,2})[日일])?")
_WORDS = {number: [word for word, its in MONTHS.items() if its == number] for number in MONTHS.values()}


def is_day(plain: str) -> bool:
    """Whether a plain text is a day, or a month with a day or a year, or begins with one; not where hospitals number
    so: 31-12-99.
    """
    return any(before_a_spreadsheet(one) and _NUMBER_LIKE.fullmatch(one) is None for one in beginnings(plain))


def beginnings(plain: str) -> Iterable[str]:
    """Return the text, and its first words, as many as a day may have: `05. mrz` of `05. mrz opted out`."""
    words = plain.split(None, _WORDS_OF_DAY)
    return dict.fromkeys(
        (plain, *(" ".join(words[:number]) for number in range(1, min(len(words), _WORDS_OF_DAY + 1))))
    )


@lru_cache(2**12)
def before_a_spreadsheet(plain: str) -> frozenset[str]:
    """Return the keys (`client.data.runs`) of the numbers that a plain text of a day may have been; none for others."""
    if not 3 <= len(plain) <= _LONGEST or not any(map(str.isdigit, plain)):
        return frozenset()
    return frozenset(chain.from_iterable(map(_of_words, (plain, *folded(plain))))) | {*_of_figures(plain)}


def _of_words(text: str) -> Iterator[str]:
    day = _WORDED.fullmatch(text)
    month = MONTHS.get(day["month"]) if day else None
    if day is None or month is None or not (numbers := [int(one) for one in (day["day"], day["year"]) if one]):
        return
    if all(one <= 99 or _is_year(one) for one in numbers):
        yield from _keys([month, *numbers], range(1, len(numbers) + 1))
        yield from (f"{word}{numbers[0]}" for word in _WORDS[month])


def _of_figures(text: str) -> Iterator[str]:
    if day := _IDEOGRAPHS.fullmatch(text):
        numbers = [int(one) for one in day.groups() if one]
        yield from _keys(numbers, range(len(numbers))) if len(numbers) > 1 else ()
    elif day := _FIGURES.fullmatch(text):
        numbers = [int(day[1]), int(day[3]), int(day[4])]
        for place, year in (0, day[1]), (2, day[4]):
            days = numbers[1:] if place == 0 else numbers[:2]
            if (len(year) == 2 or _is_year(int(year))) and min(days) >= 1 and max(days) <= 31 and min(days) <= 12:
                keys, itself = _keys(numbers, [place]), sorted(map(str, numbers))
                # 01-05-23 may be a number that hospitals give, and then is none of 05-01-23
                yield from (
                    key for key in keys if _is_year(int(year)) or day[2] != "-" or sorted(key.split("-")) != itself
                )
                yield from (
                    f"{word}{one}" for month in days if month in _WORDS for word in _WORDS[month] for one in days
                )


def _keys(numbers: Sequence[int], years: Iterable[int]) -> Iterator[str]:
    """The numbers in any order, all of them or two; one of those at `years` also with a century, or without its own."""
    places = range(len(numbers))
    for order in chain(permutations(places, 2), permutations(places) if len(numbers) > 2 else ()):
        for year in years:
            for written in _written(numbers[year]):
                yield "-".join(str(written if place == year else numbers[place]) for place in order)


def _is_year(number: int) -> bool:
    return 1900 <= number < 2100


def _written(year: int) -> tuple[int, ...]:
    return (year, year % 100) if _is_year(year) else (year, 1900 + year, 2000 + year)
