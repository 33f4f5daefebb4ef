"""A plugin of pytest: leave out of a collection what is marked to be skipped always, or may fail without a word."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items[:] = [item for item in items if not _proves_nothing(item)]


def _proves_nothing(item: pytest.Item) -> bool:
    expected = item.get_closest_marker("xfail")
    return item.get_closest_marker("skip") is not None or (expected is not None and not expected.kwargs.get("strict"))
