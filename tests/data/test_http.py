"""Servers and proxies that misbehave: each is told, none ends everything, none learns a secret."""

import hashlib
import logging
import os
import random
import socket
import threading
import time
from pathlib import Path

import pytest
from loopback import Page, Server, serving

from tlw.data import download as module
from tlw.data import http
from tlw.data.download import DownloadError, download
from tlw.data.http import shown_url

CONTENT = random.Random(2).randbytes(300_001)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SIZE = len(CONTENT)


@pytest.fixture
def server(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(module, "PAUSES", (0.0, 0.0))
    monkeypatch.setattr(http, "RATE_SECONDS", 0.3)
    with serving() as server:
        yield server


def get(server: Server, target: Path, *paths: str, size: int | None = SIZE, **options) -> Path:
    urls = [server.url + path for path in paths]
    return download(urls, target, sha256=SHA256, size=size, progress=False, **options)


BAD = {
    "a length that is no number": Page(b"x", length="many"),
    "a negative length": Page(b"x", length="-5"),
    "a length beyond all": Page(b"x", length="9" * 400),
    "a redirect that cannot be parsed": Page(status=302, headers={"Location": "http://[bad"}),
    "a redirect to another scheme": Page(status=302, headers={"Location": "file:///etc/passwd"}),
    "a redirect to nowhere": Page(status=302),
    "a redirect to a host of 300 letters": Page(
        status=301, headers={"Location": f"http://{'h' * 300}/"}
    ),
    "a redirect to a port beyond all": Page(status=307, headers={"Location": "http://a:99999/"}),
    "a redirect to itself": Page(status=302, headers={"Location": "/bad"}),
    "a redirect with a body without end": Page(
        b"x" * 65536, status=302, headers={"Location": "/bad"}, endless=True
    ),
    "an error with a body without end": Page(b"x" * 65536, status=404, endless=True),
    "a body without end": Page(b"x" * 65536, length=False, endless=True),
    "a byte now and then": Page(trickle=0.05),
    "busy for ever": Page(status=503),
    "an unknown status": Page(status=299),
    "nothing for now": Page(status=204),
}


@pytest.mark.parametrize("bad", BAD)
def test_what_goes_wrong_with_a_source_is_told_and_the_next_is_asked(server, tmp_path, caplog, bad):
    server.pages |= {"/bad": BAD[bad], "/good": Page(CONTENT)}
    assert get(server, tmp_path / "file", "/bad", "/good").read_bytes() == CONTENT
    assert f"{server.url}/bad: " in caplog.text
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("page", ["/length", "/none"])
def test_a_body_without_end_is_cut_off_at_the_known_size(server, tmp_path, page):
    server.pages |= {
        "/length": Page(b"x" * 65536, endless=True, length=str(SIZE)),
        "/none": Page(b"x" * 65536, endless=True, length=False),
    }
    with pytest.raises(DownloadError, match="wrong file"):
        get(server, tmp_path / "file", page)
    assert server.sent < 20_000_000  # what the sockets hold, too
    assert os.listdir(tmp_path) == []


def test_of_an_unknown_size_a_body_without_end_is_cut_off_at_the_most(server, tmp_path):
    server.pages["/none"] = Page(b"x" * 65536, endless=True, length=False)
    with pytest.raises(DownloadError, match="longer than 1000000 bytes"):
        get(server, tmp_path / "file", "/none", size=None, most=1_000_000)
    assert os.listdir(tmp_path) == []


def test_a_slow_source_is_left_and_says_how_slow_it_was(server, tmp_path):
    server.pages["/slow"] = Page(trickle=0.05, length=str(SIZE))
    with pytest.raises(DownloadError, match=r"/slow: too slow: \d+ bytes in \d s"):
        get(server, tmp_path / "file", "/slow")
    assert len(server.seen) == 1


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_source_that_is_busy_is_asked_again(server, tmp_path, status):
    server.pages["/file"] = Page(CONTENT, status=status, failures=2)
    assert get(server, tmp_path / "file", "/file").read_bytes() == CONTENT
    assert len(server.seen) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_a_source_that_refuses_is_not_asked_again(server, tmp_path, status):
    server.pages["/file"] = Page(CONTENT, status=status)
    with pytest.raises(DownloadError, match=f"HTTP {status}"):
        get(server, tmp_path / "file", "/file")
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("wish", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        ("86400", 60.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 60.0),
        ("-3", None),
        ("soon", None),
        ("9" * 40, None),
    ],
)
def test_the_pause_is_the_servers_wish_within_bounds(server, tmp_path, monkeypatch, wish, seconds):
    pauses = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    monkeypatch.setattr(module, "PAUSES", (5.0,))
    server.pages["/file"] = Page(CONTENT, status=503, failures=1, headers={"Retry-After": wish})
    get(server, tmp_path / "file", "/file")
    assert (5.0 if seconds is None else seconds) in pauses


def test_a_connection_that_ends_without_an_answer_is_tried_again(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(module, "PAUSES", (0.0, 0.0))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/file"

        def hang_up() -> None:
            for _ in range(3):
                listening.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(DownloadError, match="the connection ended"):
            download([url], tmp_path / "file", sha256=SHA256, progress=False)
        thread.join()


@pytest.mark.parametrize(
    "page",
    [
        Page(CONTENT, shift=-100),
        Page(CONTENT, shift=1),
        Page(CONTENT, whole_only=True),
        Page(CONTENT, ranges=False),
    ],
    ids=["an earlier range", "a later range", "fails on ranges", "without ranges"],
)
@pytest.mark.parametrize("size", [SIZE, None])
def test_a_source_whose_ranges_are_broken_is_read_from_the_start(server, tmp_path, page, size):
    (tmp_path / "file.part").write_bytes(CONTENT[:1000])
    server.pages["/file"] = page
    assert get(server, tmp_path / "file", "/file", size=size).read_bytes() == CONTENT


def test_a_source_that_is_away_costs_nothing_of_what_there_is(server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT[:1000])
    server.pages |= {"/busy": Page(status=503), "/good": Page(CONTENT)}
    assert get(server, tmp_path / "file", "/gone", "/busy", "/good").read_bytes() == CONTENT
    assert server.seen[-1] == ("/good", "bytes=1000-")


@pytest.mark.parametrize("whole", [True, False], ids=["to a file", "to nothing"])
def test_a_part_that_is_a_link_is_neither_followed_nor_written(server, tmp_path, whole):
    precious, target = tmp_path / "precious", tmp_path / "new" / "file"
    if whole:
        precious.write_text("mine")
    target.parent.mkdir()
    target.with_name("file.part").symlink_to(precious)
    server.pages["/file"] = Page(CONTENT)
    assert get(server, target, "/file").read_bytes() == CONTENT
    assert os.listdir(target.parent) == ["file"] and not target.is_symlink()
    assert precious.read_text() == "mine" if whole else not precious.exists()


# --- secrets, proxies, terminals --------------------------------------------------------------

SECRETS = ("hunter2", "t0ken")


@pytest.mark.parametrize(
    "page",
    [
        Page(status=404),
        Page(status=503),
        Page(CONTENT[::-1]),
        Page(b"short"),
        Page(trickle=0.05),
        Page(CONTENT, breaks_at=65536),
        Page(status=302, headers={"Location": "http://u:hunter2@[bad/?token=t0ken"}),
        Page(status=302, headers={"Location": "ftp://u:hunter2@host/?token=t0ken"}),
        Page(status=302, headers={"Location": "http://u:hunter2@127.0.0.1:9/?token=t0ken"}),
        Page(status=302, headers={"Location": "http://u:hunter2/x@127.0.0.1:9/?token=t0ken"}),
        Page(CONTENT[::-1], headers={"Broken header": "x"}),
    ],
)
@pytest.mark.parametrize("where", ["127.0.0.1", "localhost:9", "[bad", "127.0.0.1:hunter2"])
def test_no_secret_of_a_url_is_told(server, tmp_path, caplog, page, where):
    port = server.url.rpartition(":")[2]
    host = f"127.0.0.1:{port}" if where == "127.0.0.1" else where
    url = f"http://user:hunter2@{host}/file?token=t0ken#t0ken"
    server.pages["/file?token=t0ken"] = page
    with caplog.at_level(logging.INFO), pytest.raises(DownloadError) as error:
        download([url], tmp_path / "file", sha256=SHA256, size=SIZE, progress=False)
    told = str(error.value) + caplog.text
    assert "/file" in told and not [secret for secret in SECRETS if secret in told]
    if where == "127.0.0.1":
        assert server.seen[0][0] == "/file?token=t0ken"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://example.org/a/b.zip", "https://example.org/a/b.zip"),
        ("http://me:pw@example.org:8080/b?key=1#x", "http://example.org:8080/b"),
        ("http://me:p@ss@[::1]/b", "http://[::1]/b"),
        ("http://me:p/ss@example.org/b", "a URL that cannot be read"),
        ("me:pw@example.org/b", "a URL without a host"),
        ("http://a/\x1b[31m", r"http://a/\x1b[31m"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url, shown):
    assert shown_url(url) == shown


@pytest.mark.parametrize(
    ("proxy", "told"),
    [
        ("socks5://user:hunter2@127.0.0.1:9", "SOCKS proxy of HTTP_PROXY, HTTPS_PROXY or ALL"),
        ("http://user:hunter2@127.0.0.1:9", "the proxy of HTTP_PROXY, HTTPS_PROXY or ALL_PROXY"),
        ("gopher://user:hunter2@127.0.0.1:9", "the proxy of HTTP_PROXY, HTTPS_PROXY or ALL_PROXY"),
        ("http://", "the proxy of HTTP_PROXY, HTTPS_PROXY or ALL_PROXY"),
    ],
)
def test_a_proxy_that_does_not_work_is_told_as_such(server, tmp_path, monkeypatch, proxy, told):
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setenv("HTTP_PROXY", proxy)
    with pytest.raises(DownloadError) as error:
        get(server, tmp_path / "file", "/file")
    assert told in str(error.value) and "hunter2" not in str(error.value)


def test_a_servers_words_cannot_steer_a_terminal(server, tmp_path):
    server.pages["/file"] = Page(status=404, reason="\x1b[2J\x1b]0;owned\x07 gone")
    with pytest.raises(DownloadError) as error:
        get(server, tmp_path / "file", "/file")
    assert r"HTTP 404 \x1b[2J\x1b]0;owned\x07 gone" in str(error.value)
