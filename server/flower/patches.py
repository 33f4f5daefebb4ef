"""What Flower's SuperLink does at every call though nothing comes of it. Left out, a round takes a third less time.

Each of Flower's middlewares costs as much as a small handler, and most have work on the paths of one API only.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from server.flower.guard import App, Receive, Scope, Send

CLEAN_SECONDS = 1.0  # a task's token lives for a minute


def make_lean() -> None:
    """Change Flower's classes in this process, before its app is made."""
    from fastapi.dependencies import utils
    from flwr.supercore.corestate.sql_corestate import SqlCoreState
    from starlette.concurrency import run_in_threadpool
    from starlette.middleware.base import BaseHTTPMiddleware

    setattr(BaseHTTPMiddleware, "__call__", in_one_task(BaseHTTPMiddleware.__call__, whole()))  # noqa: B010
    vars(utils)["run_in_threadpool"] = at_once_if(lookups(), run_in_threadpool)
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


def whole() -> frozenset[str]:
    """Paths whose answer is one message, made before any of it is sent: those of sites and runs."""
    from flwr.supercore.protobuf.translation import PROTOBUF_REQUEST_TYPES

    return frozenset(path for _, path in PROTOBUF_REQUEST_TYPES if path.startswith(("/v1/fleet/", "/v1/runtime/")))


def in_one_task(work: Callable[..., Any], paths: frozenset[str]) -> Callable[..., Any]:
    """Starlette's call of a middleware, which starts two tasks and a stream of memory each time, since an answer may be
    endless and a caller may hang up. What these `paths` answer is whole before it is sent: a plain call will do.
    """
    from starlette.middleware.base import _CachedRequest
    from starlette.requests import Request
    from starlette.responses import Response

    async def call(self: Any, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in paths:
            await work(self, scope, receive, send)
            return
        request = _CachedRequest(scope, receive)

        async def call_next(_: Request) -> Response:
            said: list[Any] = []

            async def keep(message: Any) -> None:
                said.append(message)

            await self.app(scope, request.wrapped_receive, keep)
            start, *parts = said
            response = Response(b"".join(part.get("body", b"") for part in parts), start["status"])
            response.raw_headers = list(start["headers"])
            return response

        response = await self.dispatch_func(request, call_next)
        await response(scope, request.wrapped_receive, send)

    return call


def lookups() -> frozenset[Callable[..., Any]]:
    """What FastAPI asks for at each call and Flower answers from memory: a thread for it costs more than the answer."""
    from flwr.supercore.dependencies.runtime import get_runtime_handlers, get_runtime_state
    from flwr.supercore.protobuf.translation import get_protobuf_request
    from flwr.superlink.dependencies.linkstate import get_linkstate

    return frozenset({get_linkstate, get_protobuf_request, get_runtime_handlers, get_runtime_state})


def at_once_if(quick: frozenset[Callable[..., Any]], thread: Callable[..., Any]) -> Callable[..., Any]:
    """FastAPI's hand-over of a function to a thread, but for the `quick` ones."""

    async def run(function: Callable[..., Any], *args: Any, **named: Any) -> Any:
        if function in quick:
            return function(*args, **named)
        return await thread(function, *args, **named)

    return run


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
