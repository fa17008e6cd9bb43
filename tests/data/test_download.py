"""Downloads from a real server on this machine that breaks off, refuses, lies and dawdles."""

import hashlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from loopback import Page, Server, serving

from tlw.data import download as module
from tlw.data import http
from tlw.data.download import DownloadError, check_file, download
from tlw.runtime.files import sha256_of

CONTENT = random.Random(1).randbytes(1_000_003)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(module, "PAUSES", (0.0, 0.0))


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as server:
        yield server


def _get(server: Server, target: Path, *paths: str, size: int | None = len(CONTENT)) -> Path:
    urls = [server.url + path for path in paths]
    return download(urls, target, sha256=SHA256, size=size, progress=False)


def _call(server: Server, target: Path, path: str = "/file") -> list[str]:
    """The command of another process that downloads."""
    code = (
        "import sys; from pathlib import Path; from tlw.data.download import download\n"
        "download([sys.argv[1]], Path(sys.argv[2]), sha256=sys.argv[3], size=int(sys.argv[4]))"
    )
    return [sys.executable, "-c", code, server.url + path, str(target), SHA256, str(len(CONTENT))]


def test_sha256_of_a_file_is_that_of_the_standard_vector(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of(tmp_path / "abc") == digest
    check_file(tmp_path / "abc", digest)


def test_a_file_comes_whole_and_leaves_nothing_beside_it(server, tmp_path):
    server.pages["/file"] = Page(CONTENT)
    target = _get(server, tmp_path / "new" / "file.bin", "/file")
    assert target.read_bytes() == CONTENT
    assert os.listdir(target.parent) == ["file.bin"]


def test_a_server_that_tells_no_length_serves_too(server, tmp_path):
    server.pages["/file"] = Page(CONTENT, length=False)
    assert _get(server, tmp_path / "a", "/file").read_bytes() == CONTENT
    assert _get(server, tmp_path / "b", "/file", size=None).read_bytes() == CONTENT


def test_a_right_file_in_place_is_not_asked_for_again(server, tmp_path):
    (tmp_path / "file").write_bytes(CONTENT)
    _get(server, tmp_path / "file", "/file")
    assert server.seen == []


def test_a_wrong_file_in_place_is_named_with_both_hashes(server, tmp_path):
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(ValueError, match="delete it") as error:
        _get(server, tmp_path / "file", "/file")
    found = hashlib.sha256(b"mine").hexdigest()
    assert all(part in str(error.value) for part in (str(tmp_path / "file"), SHA256, found))
    assert (tmp_path / "file").read_bytes() == b"mine"


@pytest.mark.parametrize(
    "bad",
    [
        Page(status=404),
        Page(status=403),
        Page(status=500),
        Page(CONTENT[::-1]),
        Page(b"<html>log in first</html>"),
        Page(CONTENT + b"more", length=False),
        Page(CONTENT, breaks_at=393_216),
        Page(CONTENT, breaks_at=0),
    ],
    ids=["404", "403", "500", "wrong", "html", "longer", "breaks off", "silent"],
)
def test_a_bad_mirror_is_passed_over(server, tmp_path, bad):
    server.pages |= {"/bad": bad, "/good": Page(CONTENT)}
    assert _get(server, tmp_path / "file", "/bad", "/good").read_bytes() == CONTENT
    assert os.listdir(tmp_path) == ["file"]


def test_when_all_mirrors_fail_the_error_has_each_with_its_own_reason(
    server, tmp_path, monkeypatch
):
    monkeypatch.setattr(http, "SILENCE_SECONDS", 0.3)
    server.pages |= {
        "/forbidden": Page(status=403),
        "/other": Page(CONTENT[::-1]),
        "/page": Page(b"short"),
        "/slow": Page(CONTENT, pause=1.0),
        "/breaks": Page(CONTENT, breaks_at=393_216),
    }
    paths = ["/missing", "/forbidden", "/other", "/page", "/slow", "/breaks"]
    with pytest.raises(DownloadError) as error:
        _get(server, tmp_path / "file", *paths)
    text = str(error.value)
    reasons = [
        "/missing: HTTP 404 Not Found",
        "/forbidden: HTTP 403 Forbidden",
        f"/other: wrong file: SHA-256 expected {SHA256}, found "
        + hashlib.sha256(CONTENT[::-1]).hexdigest(),
        "/page: the file there has 5 bytes, expected 1000003",
        "/slow: timed out: no answer within 0.3 s",
        "/breaks: broke off at byte 393216 of 1000003",
        f"393216 bytes are kept in {tmp_path / 'file.part'}",
        f"put it at {tmp_path / 'file'}; its SHA-256 must be {SHA256}",
    ]
    assert [reason for reason in reasons if reason not in text] == []
    assert not (tmp_path / "file").exists()


def test_a_host_that_does_not_answer_is_left_after_the_connect_time(tmp_path, monkeypatch):
    monkeypatch.setattr(http, "CONNECT_SECONDS", 0.5)
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for waiting in (first, second):  # nobody accepts: the queue is full, the next is ignored
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        closed = socket.socket()
        closed.bind(("127.0.0.1", 0))
        refused = closed.getsockname()[1]
        closed.close()
        began = time.monotonic()
        urls = [f"http://127.0.0.1:{port}/x" for port in (full.getsockname()[1], refused)]
        with pytest.raises(DownloadError) as error:
            download(urls, tmp_path / "x", sha256=SHA256)
    assert time.monotonic() - began < 5
    assert "timed out: no connection within 0.5 s" in str(error.value)
    assert "cannot be reached" in str(error.value)
    assert "refused" in str(error.value)
    assert os.listdir(tmp_path) == []


def test_a_download_that_broke_off_goes_on_from_its_byte(server, tmp_path):
    server.pages["/file"] = Page(CONTENT, breaks_at=327_680, breaks=1)
    assert _get(server, tmp_path / "file", "/file").read_bytes() == CONTENT
    assert server.seen == [("/file", None), ("/file", "bytes=327680-")]


def test_a_server_without_ranges_is_read_from_the_start(server, tmp_path):
    server.pages["/file"] = Page(CONTENT, breaks_at=327_680, breaks=1, ranges=False)
    assert _get(server, tmp_path / "file", "/file").read_bytes() == CONTENT
    assert len(server.seen) == 2


@pytest.mark.parametrize("size", [len(CONTENT), None])
@pytest.mark.parametrize(
    "left", [b"rubbish", CONTENT[:-1] + b"\0", CONTENT + b"more"], ids=["short", "full", "long"]
)
def test_wrong_bytes_left_by_another_are_not_blamed_on_the_mirror(server, tmp_path, left, size):
    (tmp_path / "file.part").write_bytes(left)
    server.pages["/file"] = Page(CONTENT)
    assert _get(server, tmp_path / "file", "/file", size=size).read_bytes() == CONTENT


def test_a_whole_part_needs_no_server(server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT)
    assert _get(server, tmp_path / "file", "/missing").read_bytes() == CONTENT
    assert server.seen == []


def test_a_killed_download_goes_on_where_it_was(server, tmp_path):
    server.pages["/file"] = Page(CONTENT, pace=0.1)
    part = tmp_path / "file.part"
    process = subprocess.Popen(_call(server, tmp_path / "file"))
    while not (part.exists() and part.stat().st_size >= 200_000):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = part.stat().st_size
    assert 0 < kept < len(CONTENT)
    server.pages["/file"].pace = 0
    assert _get(server, tmp_path / "file", "/file").read_bytes() == CONTENT
    assert server.seen[-1] == ("/file", f"bytes={kept}-")
    assert os.listdir(tmp_path) == ["file"]


def test_two_processes_that_want_one_file_get_it_once(server, tmp_path):
    server.pages["/file"] = Page(CONTENT, pace=0.1)
    both = [subprocess.Popen(_call(server, tmp_path / "file")) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.seen == [("/file", None)]
    assert os.listdir(tmp_path) == ["file"]
