"""Getting the image sets of the registry: complete and checked, or not at all.

A fetched set is a folder of images with a list of them, `manifest.tsv` (file, bytes, SHA-256),
written last: a folder without it is not complete, and `images_of` refuses it.
"""

import csv
import logging
import os
import shutil
from collections.abc import Callable, Iterable
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from tlw.data.download import DownloadError, alone, download, sha256_of
from tlw.data.registry import (
    ArchiveSource,
    FilesSource,
    ImageSet,
    KnownFile,
    ManualSource,
    PackageSource,
    empty,
    load_registry,
    read_table,
)
from tlw.data.unpack import extract
from tlw.imaging.image_files import SUFFIXES

log = logging.getLogger(__name__)

LIST = "manifest.tsv"

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
            known by their names, right if file or RGB pixels have the known SHA-256.
        progress: bars on standard error, where that is a terminal.

    Raises:
        ManualSet: the set has to be got by hand, and is not there.
        DownloadError: no source gave all images; the message has a reason for each.
        ValueError: images of `source` or of the set's folder are missing or not those of the set.
    """
    home, work = folder / image_set.name, folder / f".{image_set.name}.part"
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / f".{image_set.name}.lock"
    with alone(lock):
        try:
            if (home / LIST).exists():
                _check_list(image_set, home)
            elif not empty(home):
                _write_list(home, _matching(image_set, home, progress))
            else:
                if source is not None:
                    made = _copy_from(image_set, source, work / "copies", progress)
                else:
                    made = _from_first_source(image_set, work, progress)
                os.replace(made, home)
                shutil.rmtree(work)
        finally:
            lock.unlink()
    return images_of(home)


def images_of(folder: Path) -> list[Path]:
    """The images of a complete set's folder, sorted by name.

    Raises:
        ValueError: the folder has no list of its images, or one is missing or has another length.
    """
    if not (folder / LIST).is_file():
        raise ValueError(
            f"{folder} is no complete image set: it has no {LIST}; "
            f"`tlw fetch {folder.name}` makes or checks it"
        )
    sizes = {row["file"]: int(row["bytes"]) for row in read_table(folder / LIST)}
    for name, size in sizes.items():
        path = folder / name
        found = path.stat().st_size if path.is_file() else None
        if found != size:
            what = "is missing" if found is None else f"has {found} bytes, expected {size}"
            raise ValueError(f"{path} {what}: delete {folder} and fetch the set again")
    return [folder / name for name in sorted(sizes)]


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
    spec = find_spec(source.package)  # which runs none of its code
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(f"the Python package {source.package} is not installed")
    folder = Path(spec.submodule_search_locations[0]) / source.folder
    return _copy_from(image_set, folder, work, progress)


def _from_files(image_set: ImageSet, source: FilesSource, work: Path, progress: bool) -> Path:
    for known in _bar(image_set.files, image_set.name, progress):
        download(
            source.urls_of(known.file),
            work / known.file,
            sha256=known.sha256,
            size=known.bytes,
            progress=False,
        )
    return _write_list(work, [work / known.file for known in image_set.files])


def _from_archive(image_set: ImageSet, source: ArchiveSource, work: Path, progress: bool) -> Path:
    target = work / Path(source.urls[0]).name
    archive = download(
        source.urls, target, sha256=source.sha256, size=source.bytes, progress=progress
    )
    unpacked, flat = work / "unpacked", work / "images"
    for old in (unpacked, flat):  # of an interrupted call
        shutil.rmtree(old, ignore_errors=True)
    log.info("unpacking %s", image_set.name)
    images = extract(archive, unpacked, members=[source.members])
    flat.mkdir()
    for image in images:
        os.replace(image, flat / image.name)
    return _write_list(flat, _matching(image_set, flat, progress))


def _from_manual(image_set: ImageSet, source: ManualSource, work: Path, progress: bool) -> Path:
    raise ManualSet(image_set.instructions(work.parent.parent))


def _copy_from(image_set: ImageSet, source: Path, work: Path, progress: bool) -> Path:
    inner = source / image_set.name
    images = _matching(image_set, inner if inner.is_dir() else source, progress)
    work.mkdir(parents=True, exist_ok=True)
    return _write_list(work, [Path(shutil.copyfile(path, work / path.name)) for path in images])


# --- checks -----------------------------------------------------------------------------------


def _matching(image_set: ImageSet, folder: Path, progress: bool) -> list[Path]:
    """The set's images in `folder`, all of them and right; ValueError with what is not."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder")
    there = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    problems = []
    if image_set.files:
        there = [_find(known, there) for known in image_set.files]
        for known, path in zip(image_set.files, there, strict=True):
            if path is None:
                problems.append(f"{known.file} is missing")
            elif sha256_of(path) != known.sha256 and _pixels(path) != known.sha256_rgb_pixels:
                problems.append(f"{path.name} is another image, or damaged")
    else:
        log.info("%s: no hashes are known, only number and readability are checked", folder)
        if len(there) != image_set.images:
            problems.append(f"there are {len(there)} images, expected {image_set.images}")
        for path in _bar(there, image_set.name, progress):
            if _pixels(path) is None:
                problems.append(f"{path.name} cannot be read as an image")
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise ValueError(
            f"{folder} is not the image set {image_set.name}: {'; '.join(problems[:5])}{more}"
        )
    return there


def _find(known: KnownFile, there: list[Path]) -> Path | None:
    """The file of that name, else the one with another image suffix."""
    same = [path for path in there if path.stem == Path(known.file).stem]
    return min(same, key=lambda path: path.name != known.file, default=None)


def _pixels(path: Path) -> str | None:
    """SHA-256 of the image's 8-bit RGB pixels, row by row; None if it cannot be read."""
    try:
        with Image.open(path) as image:
            return sha256(image.convert("RGB").tobytes()).hexdigest()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as problem:
        log.warning("%s: %s", path, problem)
        return None


def _write_list(folder: Path, images: list[Path]) -> Path:
    """Marks `folder` as complete."""
    aside = folder / f"{LIST}.part"
    with open(aside, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, delimiter="\t", lineterminator="\n")
        table.writerow(["file", "bytes", "sha256"])
        for path in sorted(images):
            table.writerow([path.name, path.stat().st_size, sha256_of(path)])
    os.replace(aside, folder / LIST)
    return folder


def _check_list(image_set: ImageSet, folder: Path) -> None:
    """ValueError if a complete set is another one or has changed since it was fetched."""
    found = len(images_of(folder))
    if found != image_set.images:
        raise ValueError(
            f"{folder} has {found} images, the set {image_set.images}: delete {folder} and fetch "
            "the set again"
        )
    for row in read_table(folder / LIST):
        if sha256_of(folder / row["file"]) != row["sha256"]:
            raise ValueError(
                f"{folder / row['file']} has changed since it was fetched: delete {folder} and "
                "fetch the set again"
            )


def _bar(items: Iterable, name: str, progress: bool) -> Iterable:
    return tqdm(items, desc=name, unit="image", disable=None if progress else True)
