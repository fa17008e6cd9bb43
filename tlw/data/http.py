"""One file from one server, as servers are: away, slow, broken, endless.

Whatever goes wrong with a source is a `SourceFailed`, so that its caller can ask the next one. What
it says has neither the secrets of a URL (user, password, query) nor control characters in it.
"""

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from tlw.runtime.errors import printable, without_secrets

CONNECT_SECONDS, SILENCE_SECONDS = 5.0, 30.0
LEAST_RATE, RATE_SECONDS = 1000.0, 30.0  # bytes a second on the average of so many seconds
CHUNK = 1 << 16  # what is lost at most when a line breaks off
LONGEST_PAUSE = 60.0  # seconds, whatever a server wishes
REDIRECTS = 10
_BUSY = (429, 500, 502, 503, 504)
_NO_RANGE = (400, 416, 501)  # for a request that has one

# It warns of broken headers with the whole URL.
logging.getLogger("urllib3.connection").setLevel(logging.ERROR)


class SourceFailed(Exception):
    """What is wrong with one source."""


class Passing(SourceFailed):
    """What may be over in a while: worth another try, after `pause` seconds if the server says."""

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


class RangeRefused(SourceFailed):
    """The source does not give the rest of a file; it may give the whole."""


class Body(NamedTuple):
    """What a source sends: the file from byte `start`, of `total` bytes if it says how many."""

    start: int
    total: int | None
    chunks: Iterator[bytes]


@contextmanager
def opened(url: str, start: int = 0) -> Iterator[Body]:
    """The file at `url` from byte `start` on, or from 0 where the server knows no ranges.

    Raises:
        SourceFailed: also while the chunks are read.
    """
    with _Session() as session, _answer(session, url, start) as response:
        if start and response.status_code in _NO_RANGE:
            raise RangeRefused("does not give the rest of a file")
        if response.status_code not in (200, 206):
            told = f"HTTP {response.status_code} {response.reason or ''}".rstrip()
            if response.status_code in _BUSY:
                raise Passing(printable(told), _wish(response.headers.get("Retry-After", "")))
            raise SourceFailed(printable(told))
        length = response.headers.get("Content-Length", "")
        total = int(length) if re.fullmatch(r"[0-9]{1,18}", length) else None
        if response.status_code == 200:
            start = 0
        else:
            place = response.headers.get("Content-Range", "")
            if not re.match(rf"bytes {start}-[0-9]", place):
                raise RangeRefused("answered with another range than the one asked for")
            total = None if total is None else start + total
        yield Body(start, total, _chunks(response))


class _Session(requests.Session):
    """Looks at no redirect itself, for then it reads the whole body of one, however long."""

    def get_redirect_target(self, _: requests.Response) -> None:
        return None


def _answer(session: _Session, url: str, start: int) -> requests.Response:
    """The answer at the end of all redirects."""
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    for _ in range(REDIRECTS):
        with _told():
            response = session.get(
                url,
                headers=headers,
                timeout=(CONNECT_SECONDS, SILENCE_SECONDS),
                stream=True,
                allow_redirects=False,
            )
            target = super(_Session, session).get_redirect_target(response)
            if target is None:
                return response
            response.close()
            url = urljoin(response.url, target)
    raise SourceFailed(f"more than {REDIRECTS} redirects")


def _chunks(response: requests.Response) -> Iterator[bytes]:
    began, came = time.monotonic(), 0
    while True:
        with _told():
            chunk = response.raw.read1(CHUNK, decode_content=False)
        if not chunk:
            return
        yield chunk
        came += len(chunk)
        seconds = time.monotonic() - began
        if seconds >= RATE_SECONDS:
            if came < LEAST_RATE * seconds:
                raise SourceFailed(f"too slow: {came} bytes in {seconds:.0f} s")
            began, came = time.monotonic(), 0


def _wish(retry_after: str) -> float | None:
    """Seconds to wait, from a Retry-After header, which has them or a date."""
    try:
        if re.fullmatch(r"[0-9]{1,9}", retry_after):
            seconds = float(retry_after)
        else:
            seconds = (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), LONGEST_PAUSE)


@contextmanager
def _told() -> Iterator[None]:
    """Whatever goes wrong between here and a server is the source's failure."""
    try:
        yield
    except (OSError, ValueError, urllib3.exceptions.HTTPError) as problem:  # requests' are OSErrors
        raise _failure(problem) from None  # the cause has the whole URL


def _failure(problem: Exception) -> SourceFailed:
    # Requests wraps what happened in what urllib3 did about it.
    cause = problem.args[0] if problem.args else problem
    reason = without_secrets(str(getattr(cause, "reason", None) or problem))
    through = "of HTTP_PROXY, HTTPS_PROXY or ALL_PROXY in the environment"
    match problem:
        case requests.ConnectTimeout():
            return SourceFailed(f"timed out: no connection within {CONNECT_SECONDS:g} s")
        case requests.Timeout():
            return SourceFailed(f"timed out: no answer within {SILENCE_SECONDS:g} s")
        case urllib3.exceptions.ReadTimeoutError():
            return Passing(f"timed out: nothing came for {SILENCE_SECONDS:g} s")
        case requests.exceptions.InvalidSchema() if "SOCKS" in reason:
            return SourceFailed(f"the SOCKS proxy {through} needs the package pysocks")
        case requests.exceptions.ProxyError() | requests.exceptions.InvalidURL() if (
            "proxy" in reason.lower()
        ):
            return SourceFailed(f"the proxy {through} does not work: {reason}")
        case requests.exceptions.SSLError():
            return SourceFailed(f"no trusted connection: {reason}")
        case requests.ConnectionError() if not isinstance(cause, urllib3.exceptions.ProtocolError):
            return SourceFailed(f"cannot be reached: {reason}")
        case requests.ConnectionError() | urllib3.exceptions.ProtocolError() | ConnectionError():
            return Passing(f"the connection ended: {reason}")
        case requests.exceptions.InvalidURL() | ValueError():
            return SourceFailed("its URL, or the one that it redirects to, cannot be read")
    return SourceFailed(f"failed: {reason}")


def shown_url(url: str) -> str:
    """A URL without what may be secret in it: user, password, query."""
    try:
        parts = urlsplit(url)
        port = "" if parts.port is None else f":{parts.port}"
    except ValueError:
        return "a URL that cannot be read"
    if not parts.hostname:
        return "a URL without a host"
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return printable(f"{parts.scheme}://{host}{port}{parts.path}")
