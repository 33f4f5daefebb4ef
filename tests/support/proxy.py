"""Two proxies of a hospital's or a coordinator's network: one that tunnels (CONNECT), one that passes requests on."""

from __future__ import annotations

import http.client
import posixpath
import socket
import socketserver
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import unquote

_HOP = {"connection", "keep-alive", "transfer-encoding", "proxy-connection"}


class _Running:
    """A server in threads of this process, on a free port of the loopback."""

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class ConnectProxy(_Running):
    """As a hospital has it: tunnels to whatever name is asked for, here always to `port` of this machine.

    asked: the names, host:port, in the order in which they were asked for
    """

    def __init__(self, port: int) -> None:
        self.asked: list[str] = []
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_CONNECT(self) -> None:
                asked.append(self.path)
                with socket.create_connection(("127.0.0.1", port)) as there:
                    self.send_response(200, "Connection established")
                    self.end_headers()
                    back = threading.Thread(target=_carry, args=(there, self.connection), daemon=True)
                    back.start()
                    _carry(self.connection, there)
                    back.join(5)

            def log_message(self, *_: object) -> None:
                """Silent."""

        super().__init__(Handler)


def _carry(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        return


class ReverseProxy(_Running):
    """In front of a SuperLink on the same host, as nginx would stand: it ends TLS and calls from the loopback.

    It says of every caller what a careless configuration says. `tidies`: it resolves the path before it passes it on.
    """

    def __init__(self, port: int, ca: str, *, tidies: bool = False) -> None:
        context = ssl.create_default_context(cafile=ca)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                path = posixpath.normpath(unquote(self.path)) if tidies else self.path
                there = http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=context)
                there.putrequest(self.command, path, skip_host=True)
                for name, value in self.headers.items():
                    if name.lower() not in _HOP:
                        there.putheader(name, value)
                for name in ("X-Forwarded-For", "X-Real-IP"):
                    there.putheader(name, "127.0.0.1")
                there.putheader("Forwarded", "for=127.0.0.1;proto=https")
                there.endheaders(body)
                reply = there.getresponse()
                content = reply.read()
                self.send_response(reply.status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
                there.close()

            do_GET = do_POST

            def log_message(self, *_: object) -> None:
                """Silent."""

        super().__init__(Handler)


socketserver.ThreadingMixIn.block_on_close = False
