"""Which files are the images of a set: known by their pixels, whatever their names."""

import logging
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from tqdm import tqdm

from tlw.data.registry import ImageSet, KnownFile
from tlw.imaging.image_files import read_image
from tlw.runtime.files import sha256_of

log = logging.getLogger(__name__)


def matching(
    image_set: ImageSet, where: Path, there: list[Path], progress: bool
) -> dict[str, Path]:
    """The set's images among the files `there`, all of them and right, by the names they get."""
    if image_set.files:
        images, problems = _known_among(image_set, there, progress)
    else:
        log.info("%s: no hashes are known, only number and readability are checked", where)
        images, problems = {path.name: path for path in there}, []
        if len(images) != image_set.images:
            problems.append(f"there are {len(images)} images, expected {image_set.images}")
        for path in bar(there, image_set.name, progress):
            if _pixels(path) is None:
                problems.append(f"{path.name} cannot be read as an image")
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise ValueError(
            f"{where} is not the image set {image_set.name}: {'; '.join(problems[:5])}{more}"
        )
    return images


def _known_among(
    image_set: ImageSet, there: list[Path], progress: bool
) -> tuple[dict[str, Path], list[str]]:
    """The known images and what is wrong: looked for by name first, then by the pixels of all."""
    found = {known: _called(known, there) for known in image_set.files}
    wrong = [known for known, path in found.items() if path is None or not _is(path, known)]
    among = bar(there, image_set.name, progress) if wrong else ()
    pixels = {_pixels(path): path for path in among}
    problems = []
    for known in wrong:
        called = found[known]
        found[known] = pixels.get(known.sha256_rgb_pixels)
        if found[known] is None:
            told = f"{known.file} is missing"
            problems.append(f"{called.name} is another image, or damaged" if called else told)
    images = {}
    for known, path in found.items():
        stem = Path(known.file).stem
        if path is not None:
            images[path.name if path.stem == stem else stem + path.suffix.lower()] = path
    return images, problems


def _called(known: KnownFile, there: list[Path]) -> Path | None:
    """The file of that name, else the one with another image suffix."""
    same = [path for path in there if path.stem == Path(known.file).stem]
    return min(same, key=lambda path: path.name != known.file, default=None)


def _is(path: Path, known: KnownFile) -> bool:
    return sha256_of(path) == known.sha256 or _pixels(path) == known.sha256_rgb_pixels


def _pixels(path: Path) -> str | None:
    """SHA-256 of the image's 8-bit RGB pixels, row by row; None if it cannot be read."""
    try:
        return sha256(read_image(path).tobytes()).hexdigest()
    except ValueError as problem:
        log.warning("%s", problem)
        return None


def bar(items: Iterable, name: str, progress: bool) -> Iterable:
    """The items, with a bar on standard error where that is a terminal."""
    return tqdm(items, desc=name, unit="image", disable=None if progress else True)
