"""What a file is that was taken for a network's weights and is none: the reason that is true."""

import json


def told(content: bytes) -> str | None:
    """What content is instead of weights, and what to do; None where it is not known.

    Args:
        content: a file's, or its first kilobytes.
    """
    start = content[:2048].lstrip(b"\xef\xbb\xbf \t\r\n")
    lower = start.lower()
    if not content:
        return "this file is empty; download or copy it again"
    if start.startswith(b"version https://git-lfs.github.com/spec"):
        return (
            "this is a pointer of Git LFS, not the file that it stands for; get that by "
            "`git lfs pull`, or download it from the repository's page"
        )
    if lower.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml", b"<svg")):
        return (
            "this is a web page, not the file that it links to; download that itself (a page of "
            "GitHub, Google Drive or a log-in was saved in its place)"
        )
    for magic, kind in _ARCHIVES.items():
        if content.startswith(magic):
            return f"this is {kind}; unpack it, and give the file that was in it"
    if content.startswith(b"\x89HDF"):
        return "this is an HDF5 file, as Keras has them; give one of PyTorch's"
    if start.startswith(b"{") and _is_json(start, content):
        return f"this is JSON, the answer of a server perhaps: {_shown(start)}"
    if _is_text(start):
        return f"this is text, not weights: {_shown(start)}"
    return None


_ARCHIVES = {
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!": "a rar archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a zstandard archive",
}


def _is_json(start: bytes, content: bytes) -> bool:
    if not _is_text(start):
        return False
    try:
        json.loads(content[:1_000_000])
    except (ValueError, RecursionError):
        return False
    return True


def _is_text(start: bytes) -> bool:
    """Whether it begins with twenty or more signs that people write."""
    return len(start) >= 20 and all(byte in b"\t\r\n" or 32 <= byte < 127 for byte in start)


def _shown(start: bytes) -> str:
    return repr(start[:60].decode("ascii", "replace"))
