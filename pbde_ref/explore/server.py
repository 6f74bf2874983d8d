"""Who serves the page: Python's own server, for this machine alone.

It listens on 127.0.0.1, answers only requests that name it (a page of another site that lets its name point here is
refused), takes at most 16 KiB of JSON, and runs nothing that it is sent.
"""

from __future__ import annotations

import json
import multiprocessing
import threading
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pbde_ref.explore.answers import Settings, answer, choices
from pbde_ref.explore.page import page_of
from pbde_ref.processes import process_pool

__all__ = ["MOST_BYTES", "Explorer"]

MOST_BYTES = 2**14
# Up to this many points an answer is a matter of milliseconds, and is computed here.
DRAFT = 64


class Explorer(ThreadingHTTPServer):
    """The server; `url` says where.

    Parameters
    ----------
    port : int
        0: one that is free.
    start : Settings
        What the page begins with.

    Examples
    --------
    >>> with Explorer(0, Settings(size=64)) as explorer:
    ...     explorer.url.startswith("http://127.0.0.1:")
    True
    """

    daemon_threads = True

    def __init__(self, port: int, start: Settings) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.hosts = [f"{name}:{self.server_port}" for name in ("127.0.0.1", "localhost")]
        self.url = f"http://{self.hosts[0]}/"
        data = {"choices": choices(), "problems": [answer(start)], "ask": "answer"}
        self.page = page_of(data).encode()
        self._draft, self._renewing, self._pools = threading.Lock(), threading.Lock(), ExitStack()
        self._asked: Future[Any] | None = None
        self._renew()

    def answer(self, settings: Settings) -> dict[str, Any]:
        """A draft at once; what takes longer in another process, which the next such question ends."""
        if settings.size <= DRAFT:
            with self._draft:
                return answer(settings)
        with self._renewing:
            if self._asked is not None and not self._asked.done():
                self._renew()
            asked = self._asked = self._pool.submit(answer, settings)
        return asked.result()

    def _renew(self) -> None:
        self._end()
        self._pool: ProcessPoolExecutor = self._pools.enter_context(process_pool(1))
        # It imports the package while the first picture is looked at.
        self._pool.submit(choices)

    def _end(self) -> None:
        """End the other process, whatever it is at."""
        for process in multiprocessing.active_children():
            process.terminate()
        self._pools.close()

    def server_close(self) -> None:
        """Stop listening, and end the process."""
        super().server_close()
        self._end()


class _Handler(BaseHTTPRequestHandler):
    server: Explorer
    server_version, sys_version = "pbde_ref", ""
    timeout = 10

    def do_GET(self) -> None:
        """The page."""
        if self._is_for_us():
            if self.path == "/":
                self._send(200, "text/html", self.server.page)
            else:
                self._refuse(404, "there is one page, /")

    def do_POST(self) -> None:
        """An answer to settings."""
        length = self.headers.get("Content-Length", "")
        if not self._is_for_us():
            return
        if self.path != "/answer":
            self._refuse(404, "questions go to /answer")
        elif self.headers.get_content_type() != "application/json":
            self._refuse(415, "settings must be application/json")
        elif not length.isdecimal():
            self._refuse(411, "Content-Length must be given")
        elif len(length) > 9 or int(length) > MOST_BYTES:
            self._refuse(413, f"settings must have at most {MOST_BYTES} bytes")
        else:
            self._answer(self.rfile.read(int(length)))

    def _answer(self, body: bytes) -> None:
        try:
            given = json.loads(body)
            if not isinstance(given, dict):
                raise TypeError("settings must be a JSON object")
            found = self.server.answer(Settings(**given))
        except (BrokenProcessPool, CancelledError):
            self._refuse(409, "another question came before this one was answered")
        except (ValueError, TypeError, ArithmeticError, RecursionError, MemoryError) as error:
            self._refuse(422, str(error)[:300])
        else:
            self._send(200, "application/json", json.dumps(found, allow_nan=False).encode())

    def _is_for_us(self) -> bool:
        """Whether the browser asks this server, and no other site had it ask."""
        origin = self.headers.get("Origin")
        if self.headers.get("Host") not in self.server.hosts:
            self._refuse(403, f"this server is {self.server.url} for this machine only")
        elif origin is not None and origin not in [f"http://{host}" for host in self.server.hosts]:
            self._refuse(403, "other sites may not ask")
        else:
            return True
        return False

    def _refuse(self, status: int, why: str) -> None:
        self._send(status, "application/json", json.dumps({"error": why}).encode())

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": f"{kind}; charset=utf-8", "Content-Length": str(len(body)), "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
        }.items():  # fmt: skip
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing of requests."""
