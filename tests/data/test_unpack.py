"""Archives, sound and hostile."""

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from tlw.data.unpack import extract

SOUND = {"set/a.png": b"a", "set/deep/b.png": b"bb", "set/notes.txt": b"n"}


def _zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.mkdir("set")
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def _tar(path: Path, files: dict[str, bytes], *links: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for link in links:
            archive.addfile(link)
    return path


def _link(name: str, kind: bytes, target: str = "/etc/passwd") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("make", [_zip, _tar])
def test_an_archive_is_unpacked_whole(tmp_path, make):
    archive = make(tmp_path / "archive", SOUND)
    files = extract(archive, tmp_path / "out")
    assert {str(f.relative_to(tmp_path / "out")): f.read_bytes() for f in files} == SOUND
    assert sorted(os.listdir(tmp_path)) == ["archive", "out"]


@pytest.mark.parametrize("make", [_zip, _tar])
def test_only_the_wanted_members_are_unpacked(tmp_path, make):
    archive = make(tmp_path / "archive", SOUND)
    files = extract(archive, tmp_path / "out", members=["*.png"])
    assert [f.name for f in files] == ["a.png", "b.png"]
    assert not (tmp_path / "out/set/notes.txt").exists()


@pytest.mark.parametrize("make", [_zip, _tar])
@pytest.mark.parametrize("name", ["../evil", "set/../../evil", "/tmp/tlw-evil", "..\\evil"])
def test_a_member_that_leads_outside_is_refused_and_nothing_stays(tmp_path, make, name):
    archive = make(tmp_path / "archive", {**SOUND, name: b"x"})
    with pytest.raises(ValueError, match="leads outside"):
        extract(archive, tmp_path / "out")
    assert os.listdir(tmp_path) == ["archive"]
    assert not Path("/tmp/tlw-evil").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind):
    archive = _tar(tmp_path / "archive", SOUND, _link("set/link", kind))
    with pytest.raises(ValueError, match="link or a device"):
        extract(archive, tmp_path / "out")
    assert os.listdir(tmp_path) == ["archive"]


def test_a_symbolic_link_in_a_zip_is_refused(tmp_path):
    info = zipfile.ZipInfo("set/link")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "archive", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(ValueError, match="link or a device"):
        extract(tmp_path / "archive", tmp_path / "out")


@pytest.mark.parametrize("make", [_zip, _tar])
@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_a_damaged_archive_is_named_and_nothing_stays(tmp_path, make, damage):
    archive = make(tmp_path / "archive", {"a": os.urandom(100_000)})
    content = bytearray(archive.read_bytes())
    if damage == "cut":
        content = content[:50_000]
    else:
        content[50_000] ^= 255
    archive.write_bytes(content)
    with pytest.raises(ValueError, match=str(archive)):
        extract(archive, tmp_path / "out")
    assert os.listdir(tmp_path) == ["archive"]


def test_a_pattern_without_a_member_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no member \*\.bmp"):
        extract(_zip(tmp_path / "archive", SOUND), tmp_path / "out", members=["*.png", "*.bmp"])


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").write_bytes(b"")
    with pytest.raises(ValueError, match="not empty"):
        extract(_zip(tmp_path / "archive", SOUND), tmp_path / "out")
