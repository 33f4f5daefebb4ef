"""Whether the sites together can teach a model to tell classes apart: one of them alone need not."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from common.errors import RunError
from common.study import Study


def require_two_classes(study: Study, classes: NDArray[Any]) -> None:
    """Raise RunError where the summed training cases are of one class. With privacy the sum is noise, and nothing is
    said: each site's people saw their own counts at approval.
    """
    if not study.private and (why := study.task.unteachable(classes)):
        raise RunError(
            f"The training cases of all sites together are {why}: nothing can be learned from them. Ask "
            "the sites to look at target.column and target.values in their site.yaml, or invite others."
        )
