"""What Flower's SuperLink does at every call though nothing comes of it. Left out, a round takes a third less time.

Each of Flower's middlewares costs as much as a small handler, and most have work on the paths of one API only.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from server.guard import App, Receive, Scope, Send

CLEAN_SECONDS = 1.0  # a task's token lives for a minute


def make_lean() -> None:
    """Change Flower's classes in this process, before its app is made."""
    from flwr.supercore.corestate.sql_corestate import SqlCoreState

    for middleware, prefix in works_under().items():
        middleware.__call__ = only_under(prefix, middleware.__call__)
    clean = SqlCoreState._cleanup_expired_task_tokens
    setattr(SqlCoreState, "_cleanup_expired_task_tokens", seldom(clean))  # noqa: B010


def works_under() -> dict[Any, str]:
    """Flower's middlewares, and the beginning of the paths that they have work for."""
    from flwr.supercore.routers.runtime.tracing import RuntimeTracingMiddleware
    from flwr.superlink.routers.control.middlewares import (
        ControlAuthenticationMiddleware,
        ControlEventLogMiddleware,
        ControlLicenseMiddleware,
        ControlSensitiveResponseMiddleware,
    )
    from flwr.superlink.routers.fleet.middlewares import FleetEventLogMiddleware
    from flwr.superlink.routers.fleet.node_auth import NodeAuthMiddleware

    return {
        ControlSensitiveResponseMiddleware: "/v1/control/",
        ControlAuthenticationMiddleware: "/v1/control/",
        ControlLicenseMiddleware: "/v1/control/",
        ControlEventLogMiddleware: "/v1/control/",
        RuntimeTracingMiddleware: "/v1/runtime/",
        NodeAuthMiddleware: "/v1/fleet/",
        FleetEventLogMiddleware: "/v1/fleet/",
    }


def only_under(prefix: str, work: Callable[..., Any]) -> Callable[..., Any]:
    """A middleware's call that hands what is not under `prefix` on, as the middleware itself would after a while."""

    async def call(self: Any, scope: Scope, receive: Receive, send: Send) -> None:
        app: App = self.app
        if scope["type"] == "http" and not scope["path"].startswith(prefix):
            await app(scope, receive, send)
        else:
            await work(self, scope, receive, send)

    return call


def seldom(clean: Callable[[Any], None]) -> Callable[[Any], None]:
    """Flower ends tasks of which nobody heard whenever it looks at a run, which is four times for each message.

    Each time it writes to the database twice, and all others wait for that.
    """
    due = 0.0

    def clean_seldom(state: Any) -> None:
        nonlocal due
        if time.monotonic() >= due:
            due = time.monotonic() + CLEAN_SECONDS
            clean(state)

    return clean_seldom
