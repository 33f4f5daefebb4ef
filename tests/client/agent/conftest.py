"""A site for the tests of its agent; what a test changes in it, it puts back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agent import AgentSite, agent_site


@pytest.fixture(scope="package")
def site() -> Iterator[AgentSite]:
    with agent_site() as joined:
        yield joined


@pytest.fixture(scope="module")
def listening(site: AgentSite) -> Iterator[Path]:
    """The socket of its agent, which listens as long as the tests of one file last."""
    with site.served() as socket:
        yield socket
