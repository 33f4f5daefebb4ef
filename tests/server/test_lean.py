"""Calls of Starlette and FastAPI that server/flower/patches.py replaces: the same answers, without the tasks."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from server.flower.patches import at_once_if, in_one_task, lookups, whole

Answers = Callable[[Request], Awaitable[Response]]


class Reads(BaseHTTPMiddleware):
    """Reads the body first, as the one that parses messages does, and adds to the answer."""

    async def dispatch(self, request: Request, call_next: Answers) -> Response:
        request.state.read = await request.body()
        response = await call_next(request)
        response.headers["x-status"] = str(response.status_code)
        return response


class Answers401(BaseHTTPMiddleware):
    """Lets nobody without a name through."""

    async def dispatch(self, request: Request, call_next: Answers) -> Response:
        return await call_next(request) if "x-name" in request.headers else Response(b"who", 401)


class Translates(BaseHTTPMiddleware):
    """Makes an answer of an error of what is inside."""

    async def dispatch(self, request: Request, call_next: Answers) -> Response:
        try:
            return await call_next(request)
        except ValueError as error:
            return Response(str(error), 400)


async def endpoint(request: Request) -> Response:
    body = await request.body()
    if body == b"refused":
        raise HTTPException(403, "no")
    if body == b"wrong":
        raise ValueError("wrong")
    if body == b"broken":
        raise RuntimeError("broken")
    both = Response(body, 201, {"x-read": str(len(request.state.read))})
    both.raw_headers += [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
    return both


def answer(lean: bool, path: str, body: bytes, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Any:
    with monkeypatch.context() as patched:
        if lean:
            patched.setattr(BaseHTTPMiddleware, "__call__", in_one_task(BaseHTTPMiddleware.__call__, whole()))
        kinds = [Middleware(kind) for kind in (Translates, Reads, Answers401)]
        app = Starlette(routes=[Route("/v1/{rest:path}", endpoint, methods=["POST"])], middleware=kinds)

        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
                return await client.post(path, content=body, headers=headers)

        said = asyncio.run(ask())
    return said.status_code, said.content, sorted(said.headers.raw)


@pytest.mark.parametrize("path", ["/v1/fleet/push-object", "/v1/runtime/pull-object", "/v1/control/list-nodes"])
@pytest.mark.parametrize("body", [b"", b"x" * 3_000_000, b"refused", b"wrong", b"broken"], ids=len)
@pytest.mark.parametrize("name", [{}, {"x-name": "east"}], ids=["nobody", "east"])
def test_a_middleware_in_one_task_answers_as_starlettes(
    path: str, body: bytes, name: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lean, starlettes = (answer(is_lean, path, body, name, monkeypatch) for is_lean in (True, False))
    assert lean == starlettes
    wanted = {b"refused": 403, b"wrong": 400, b"broken": 500}.get(body, 201) if name else 401
    assert lean[0] == wanted


def test_no_call_that_goes_in_one_task_answers_without_end() -> None:
    """A stream is sent piece by piece, for as long as it gives some: Flower's of a model's words is left as it is."""
    from flwr.supercore.routers.runtime.router import create_runtime_router
    from flwr.superlink.routers.fleet.router import router

    paths, found = whole(), dict[str, Callable[..., Any]]()
    for prefix, several in (("/v1/fleet", router), ("/v1/runtime", create_runtime_router("SuperLink"))):
        found |= {f"{prefix}/{endpoint.__name__}": endpoint for endpoint in endpoints(several)}
    assert len(paths) > 20 and len(found) >= len(paths)
    assert "/v1/runtime/responses" not in paths
    for name, endpoint in found.items():
        said = str(inspect.signature(endpoint).return_annotation)
        assert "Iterator" not in said and "Stream" not in said, name


def endpoints(router: Any) -> list[Callable[..., Any]]:
    """Of a router and of those that it includes."""
    found = []
    for route in router.routes:
        included = getattr(route, "original_router", None)
        found += [route.endpoint] if included is None else endpoints(included)
    return found


def test_what_is_looked_up_in_memory_needs_no_thread() -> None:
    def quick() -> int:
        return threading.get_ident()

    def slow() -> int:
        return threading.get_ident()

    run = at_once_if(frozenset({quick}), run_in_threadpool)

    async def both() -> tuple[int, int]:
        return await run(quick), await run(slow)

    here, there = asyncio.run(both())
    assert here == threading.get_ident() != there
    assert all(callable(lookup) for lookup in lookups())
