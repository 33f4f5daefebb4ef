"""The client's half of looks that wait: what it tells the server, by what it was told, thread by thread."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import httpx

from common.network.long_poll import FOR_SITES, HEADER, News


class Server:
    """Answers one call after the other as it was told; remembers the numbers that it was shown."""

    def __init__(self, *answers: tuple[bytes, str | None]) -> None:
        self._answers, self.shown = list(answers), []

    def __call__(self, context) -> httpx.Response:
        self.shown.append(context.request.headers.get(HEADER))
        content, number = self._answers.pop(0)
        return httpx.Response(200, content=content, headers={HEADER: number} if number else {})


def look(news: News, server: Server, path: str = FOR_SITES) -> None:
    request = httpx.Request("POST", f"https://127.0.0.1:1{path}")
    news.intercept(SimpleNamespace(request=request), server)


def test_a_look_after_an_empty_one_waits_and_one_after_a_message_does_not():
    news, server = News(FOR_SITES), Server((b"", "5"), (b"message", "6"), (b"", "6"), (b"", "7"))
    for _ in range(4):
        look(news, server)
    assert server.shown == [None, "5", None, "6"]
    assert news.waits


def test_where_the_server_says_nothing_nothing_waits():
    news, server = News(FOR_SITES), Server((b"", None), (b"", None))
    look(news, server)
    assert not news.waits
    look(news, server)
    assert server.shown == [None, None]


def test_other_calls_neither_wait_nor_change_anything():
    news, server = News(FOR_SITES), Server((b"", "5"), (b"", "9"), (b"", "5"))
    look(news, server)
    look(news, server, "/v1/fleet/push-object")
    look(news, server)
    assert server.shown == [None, None, "5"]


def test_each_thread_knows_its_own_looks():
    news, server = News(FOR_SITES), Server((b"", "5"), (b"", "5"))
    look(news, server)
    other = threading.Thread(target=look, args=(news, server))
    other.start()
    other.join()
    assert server.shown == [None, None]
