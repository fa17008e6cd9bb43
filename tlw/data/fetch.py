"""Getting the image sets of the registry: complete and checked, or not at all.

A fetched set is a folder of images with a list of them, `manifest.tsv` (file, bytes, SHA-256,
source), written last: a folder without it is not complete, and `images_of` refuses it.
"""

import csv
import importlib.util
import logging
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from pydantic import NonNegativeInt

from tlw.config.schema import Model
from tlw.data.download import DownloadError, download
from tlw.data.known_images import bar, matching
from tlw.data.registry import (
    NO_SOURCE,
    ArchiveSource,
    FileName,
    FilesSource,
    ImageSet,
    ManualSource,
    PackageSource,
    empty,
    is_litter,
    load_registry,
    read_manifest,
)
from tlw.data.unpack import extract
from tlw.imaging.image_files import SUFFIXES, image_files
from tlw.runtime.files import sha256_of, written_aside
from tlw.runtime.locks import only_one

log = logging.getLogger(__name__)

LIST = "manifest.tsv"
OWN_FOLDER = "a folder that its user had (--from)"  # whose name would be nobody else's business

__all__ = ["ImageSet", "ManualSet", "fetch", "images_of", "load_registry"]


class ManualSet(ValueError):
    """A set that its users have to get themselves; the message says how."""


def fetch(
    image_set: ImageSet, folder: Path, *, source: Path | None = None, progress: bool = True
) -> list[Path]:
    """Makes the folder `folder/<name>` with all images of the set, checked; returns their paths.

    What is there and right is left alone. Images that somebody put there by hand are checked and
    listed. An interrupted download is gone on with by the next call. Two processes may ask at once.

    Args:
        source: a folder of images that the user has already, or with a subfolder `<name>` of them;
            known by their RGB pixels, whatever their names, where these have a known SHA-256.
        progress: bars on standard error, where that is a terminal.

    Raises:
        ManualSet: the set has to be got by hand, and is not there.
        DownloadError: no source gave all images; the message has a reason for each.
        ValueError: images of `source` or of the set's folder are missing or not those of the set.
    """
    home, work = folder / image_set.name, folder / f".{image_set.name}.part"
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / f".{image_set.name}.lock"
    with only_one(lock, patience=math.inf, does=f"fetches {image_set.name}"):
        if (home / LIST).exists():
            _check_list(image_set, home)
        elif not empty(home):
            images = matching(image_set, home, image_files(home), progress)
            _write_list(home, _moved(images, home), "put in place by hand")
        else:
            if work.is_symlink():
                work.unlink()  # it would lead to a folder that is not ours
            if source is not None:
                made = _copy_from(image_set, source, work / "copies", progress, OWN_FOLDER)
            else:
                made = _from_first_source(image_set, work, progress)
            _put(made, home)
            shutil.rmtree(work)
    return images_of(home)


def _put(made: Path, home: Path) -> None:
    if home.exists():
        for path in home.iterdir():  # nothing but what systems put there
            os.replace(path, made / path.name)
        home.rmdir()
    os.replace(made, home)


class _Listed(Model):
    """One row of a set's list."""

    file: FileName
    bytes: NonNegativeInt
    sha256: str
    source: str = NO_SOURCE


def images_of(folder: Path) -> list[Path]:
    """The images of a complete set's folder, sorted by name.

    Raises:
        ValueError: the folder has no list of its images, or one is missing or has another length.
    """
    if folder.is_file():
        raise ValueError(f"{folder}: expected a folder of images, found a file")
    if not (folder / LIST).is_file():
        raise ValueError(
            f"{folder} is no complete image set: it has no {LIST}; "
            f"`tlw fetch {folder.name}` makes or checks it"
        )
    sizes = {row.file: row.bytes for row in read_manifest(folder / LIST, _Listed)}
    for name, size in sizes.items():
        path = folder / name
        found = path.stat().st_size if path.is_file() else None
        if found != size:
            what = "is missing" if found is None else f"has {found} bytes, expected {size}"
            raise ValueError(f"{path} {what}: delete {folder} and fetch the set again")
    return [folder / name for name in sorted(sizes)]


def sources_of(folder: Path) -> str:
    """Where the images of a complete set's folder came from, in words.

    Raises:
        ValueError: the folder has no list of its images.
    """
    rows = read_manifest(folder / LIST, _Listed)
    return "; ".join(dict.fromkeys(row.source for row in rows))


# --- sources ----------------------------------------------------------------------------------


def _from_first_source(image_set: ImageSet, work: Path, progress: bool) -> Path:
    """A complete folder inside of `work`; every source has its own, to resume in."""
    makers: dict[type, Callable] = {
        PackageSource: _from_package,
        FilesSource: _from_files,
        ArchiveSource: _from_archive,
        ManualSource: _from_manual,
    }
    reasons = []
    for number, source in enumerate(image_set.sources):
        try:
            return makers[type(source)](image_set, source, work / str(number), progress)
        except ManualSet:
            raise
        except (DownloadError, ValueError) as problem:
            log.warning("%s, source %d: %s", image_set.name, number + 1, problem)
            reasons.append(f"- {source.kind}: {problem}")
    raise DownloadError(
        f"no source gave the image set {image_set.name}:\n"
        + "\n".join(reasons)
        + f"\nIf you have its {image_set.images} images in a folder: "
        f"`tlw fetch {image_set.name} --from FOLDER`"
    )


def _from_package(image_set: ImageSet, source: PackageSource, work: Path, progress: bool) -> Path:
    found = importlib.util.find_spec(source.package)  # finds it without running it
    if found is None or not found.submodule_search_locations:
        raise ValueError(f"the Python package {source.package} is not installed")
    folder = Path(found.submodule_search_locations[0], source.folder)
    return _copy_from(image_set, folder, work, progress, source.told)


def _from_files(image_set: ImageSet, source: FilesSource, work: Path, progress: bool) -> Path:
    for known in bar(image_set.files, image_set.name, progress):
        download(
            source.urls_of(known.file),
            work / known.file,
            sha256=known.sha256,
            size=known.bytes,
            progress=False,
        )
    return _write_list(work, [work / known.file for known in image_set.files], source.told)


def _from_archive(image_set: ImageSet, source: ArchiveSource, work: Path, progress: bool) -> Path:
    target = work / f"{image_set.name}.archive"
    archive = download(
        source.urls, target, sha256=source.sha256, size=source.bytes, progress=progress
    )
    unpacked, flat = work / "unpacked", work / "images"
    for old in (unpacked, flat):  # of an interrupted call
        shutil.rmtree(old, ignore_errors=True)
    log.info("unpacking %s", image_set.name)
    files = extract(archive, unpacked, members=[source.members])
    there = [path for path in files if path.suffix.lower() in SUFFIXES and not is_litter(path)]
    images = matching(image_set, archive, there, progress)
    flat.mkdir()
    return _write_list(flat, _moved(images, flat), source.told)


def _from_manual(image_set: ImageSet, source: ManualSource, work: Path, progress: bool) -> Path:
    raise ManualSet(image_set.instructions(work.parent.parent))


def _copy_from(image_set: ImageSet, source: Path, work: Path, progress: bool, told: str) -> Path:
    folder = source / image_set.name
    folder = folder if folder.is_dir() else source
    images = matching(image_set, folder, image_files(folder), progress)
    work.mkdir(parents=True, exist_ok=True)
    copies = [shutil.copyfile(path, work / name) for name, path in images.items()]
    return _write_list(work, copies, told)


# --- places -----------------------------------------------------------------------------------


def _moved(images: dict[str, Path], folder: Path) -> list[Path]:
    """The images in `folder` under the names that they get."""
    targets = {folder / name: path for name, path in images.items()}
    for target, path in targets.items():
        if target != path and target.exists():
            raise ValueError(f"{path} is {target.name} of this set, but there is one: rename both")
    for target, path in targets.items():
        os.replace(path, target)
    return list(targets)


def _write_list(folder: Path, images: list[Path], source: str) -> Path:
    """Marks `folder` as complete; `source` says where its images came from."""
    with (
        written_aside(folder / LIST) as aside,
        open(aside, "w", encoding="utf-8", newline="") as file,
    ):
        table = csv.writer(file, delimiter="\t", lineterminator="\n")
        table.writerow(["file", "bytes", "sha256", "source"])
        for path in sorted(images):
            table.writerow([path.name, path.stat().st_size, sha256_of(path), source])
    return folder


def _check_list(image_set: ImageSet, folder: Path) -> None:
    """ValueError if a complete set is another one or has changed since it was fetched."""
    found = len(images_of(folder))
    if found != image_set.images:
        raise ValueError(
            f"{folder} has {found} images, the set {image_set.images}: delete {folder} and fetch "
            "the set again"
        )
    for row in read_manifest(folder / LIST, _Listed):
        if sha256_of(folder / row.file) != row.sha256:
            raise ValueError(
                f"{folder / row.file} has changed since it was fetched: delete {folder} and "
                "fetch the set again"
            )
