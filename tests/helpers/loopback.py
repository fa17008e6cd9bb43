"""A real HTTP server on this machine that misbehaves as told."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Page:
    """What the server does at one path."""

    content: bytes = b""
    status: int = 200
    ranges: bool = True  # whether it honours Range
    breaks_at: int | None = None  # closes the connection after that byte of the file
    breaks: int = 10**6  # how many times it does so
    pause: float = 0.0  # seconds before the answer
    pace: float = 0.0  # seconds after every 64 KiB
    length: bool | str = True  # whether it tells the length, or what it tells
    trickle: float = 0.0  # seconds after every byte, of which there is no end
    endless: bool = False  # the content again and again
    shift: int = 0  # bytes by which the ranges that it gives lie beside those asked for
    whole_only: bool = False  # fails when asked for a range
    reason: str | None = None  # beside the status
    headers: dict[str, str] = field(default_factory=dict)
    failures: int = 10**6  # how many times it answers with its status, if that is not 200


@dataclass
class Server:
    url: str
    pages: dict[str, Page] = field(default_factory=dict)
    seen: list[tuple[str, str | None]] = field(default_factory=list)  # path, Range
    sent: int = 0  # bytes of bodies without end


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        told: Server = self.server.told
        told.seen.append((self.path, self.headers.get("Range")))
        page = told.pages.get(self.path, Page(status=404))
        time.sleep(page.pause)
        failing = page.status != 200 and page.failures > 0
        if failing or (page.whole_only and "Range" in self.headers):
            page.failures -= 1
            self.send_response(page.status if failing else 500, page.reason)
            self._send_headers(page)
            if page.endless:
                self._send_without_end(page)
            return
        start = 0
        if page.ranges and "Range" in self.headers:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            if start >= len(page.content):
                self.send_error(416)
                return
            self.send_response(206)
            last = len(page.content) - 1
            start += page.shift
            self.send_header("Content-Range", f"bytes {start}-{last}/{last + 1}")
        else:
            self.send_response(200)
        if page.length:
            length = str(len(page.content) - start) if page.length is True else page.length
            self.send_header("Content-Length", length)
        self._send_headers(page)
        if page.endless or page.trickle:
            self._send_without_end(page)
            return
        end = len(page.content)
        if page.breaks_at is not None and page.breaks > 0:
            page.breaks -= 1
            end = max(page.breaks_at, start)
        with suppress(ConnectionError):  # the other side may have gone
            for at in range(start, end, 1 << 16):
                self.wfile.write(page.content[at : min(at + (1 << 16), end)])
                time.sleep(page.pace)

    def _send_headers(self, page: Page) -> None:
        for name, value in page.headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _send_without_end(self, page: Page) -> None:
        told: Server = self.server.told
        with suppress(ConnectionError):
            while True:
                block = b"x" if page.trickle else page.content
                self.wfile.write(block)
                told.sent += len(block)
                time.sleep(page.trickle)


@contextmanager
def serving() -> Iterator[Server]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.daemon_threads = True
        server.told = Server(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server.told
        server.shutdown()
        thread.join()
