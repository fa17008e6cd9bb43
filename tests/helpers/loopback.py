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
    length: bool = True  # whether it tells the length


@dataclass
class Server:
    url: str
    pages: dict[str, Page] = field(default_factory=dict)
    seen: list[tuple[str, str | None]] = field(default_factory=list)  # path, Range


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        told: Server = self.server.told
        told.seen.append((self.path, self.headers.get("Range")))
        page = told.pages.get(self.path, Page(status=404))
        time.sleep(page.pause)
        if page.status != 200:
            self.send_error(page.status)
            return
        start = 0
        if page.ranges and "Range" in self.headers:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            if start >= len(page.content):
                self.send_error(416)
                return
            self.send_response(206)
            last = len(page.content) - 1
            self.send_header("Content-Range", f"bytes {start}-{last}/{last + 1}")
        else:
            self.send_response(200)
        if page.length:
            self.send_header("Content-Length", str(len(page.content) - start))
        self.end_headers()
        end = len(page.content)
        if page.breaks_at is not None and page.breaks > 0:
            page.breaks -= 1
            end = max(page.breaks_at, start)
        with suppress(ConnectionError):  # the other side may have gone
            for at in range(start, end, 1 << 16):
                self.wfile.write(page.content[at : min(at + (1 << 16), end)])
                time.sleep(page.pace)


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
