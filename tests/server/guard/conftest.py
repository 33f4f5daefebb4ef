"""One SuperLink, behind its guard, for all tests of the guard: what one leaves in it, no other counts on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.other_user import open_folder
from tests.support.superlink import RunningSuperLink, running_superlink


@pytest.fixture(scope="package", autouse=True)
def without_proxies() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="package")
def superlink() -> Iterator[RunningSuperLink]:
    with open_folder() as folder, running_superlink(folder / "consortium") as (running, _):
        yield running
