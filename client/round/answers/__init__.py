"""What this site answers to each kind of question: one file of this package each, and one line in `ANSWERS`.

The questions are those of `common/questions/`; an answer is found by its question's `kind`.
"""

from __future__ import annotations

from client.round.answers.answer import Answer
from client.round.answers.scores import ScoresAnswer
from client.round.answers.statistics import StatisticsAnswer
from client.round.answers.update import UpdateAnswer

ANSWERS: dict[str, Answer] = {
    "statistics": StatisticsAnswer(),
    "scores": ScoresAnswer(),
    "training": UpdateAnswer(),
}
