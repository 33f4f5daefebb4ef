"""Tasks: what is predicted. Each is one file of this package, and one line in `Task` and in `TASKS`.

See `task.Task` for what a task can say of itself, and `common/scores.py` for what a study adds to it.
"""

from __future__ import annotations

from typing import Annotated, get_args, get_type_hints

from pydantic import Field

from common.tasks.binary import Binary
from common.tasks.measure import Measure
from common.tasks.multiclass import Multiclass

__all__ = ["MEASURES", "TASKS", "Task", "measure_of", "measures_of"]

TASKS = (
    Binary,
    Multiclass,
)
Task = Annotated[
    Binary  # a line each, as above
    | Multiclass,
    Field(discriminator="kind"),
]
MEASURES: dict[str, Measure] = {measure.key: measure for task in TASKS for measure in task.measures}


def measures_of(kind: str) -> tuple[Measure, ...]:
    """Return the measures of a kind of task, as a report names it; those of all where no task here is of it."""
    found = (task.measures for task in TASKS if kind in get_args(get_type_hints(task)["kind"]))
    return next(found, tuple(MEASURES.values()))


def measure_of(key: str) -> Measure:
    """Return the measure of this key in a report; one that no task here has is named by it."""
    return MEASURES.get(key) or Measure(key, key.replace("_", " ").capitalize())
