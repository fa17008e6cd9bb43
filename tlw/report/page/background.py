"""What a run's numbers rest on: its image sets, with their terms and doubles, and its config."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tlw.config.config import Cell, read_cell
from tlw.data.pairs import Pairs
from tlw.data.registry import ArchiveSource, ImageSet, known_sets


def image_sets(pairs: Sequence[Path], registry: Path | None = None) -> dict[str, Any]:
    """The sets that were trained and scored on, once each, and the images that are there twice.

    Args:
        pairs: a run's pairs files, of whichever scales.
        registry: of image sets of the user's own.

    Returns:
        sets: name, use, images, protocol, sources (where the images came from), checked (how it is
        known that these are the images) and terms of each; doubles: a sentence each, for images
        with the same pixels in a set, and the same file in two.

    Raises:
        ValueError: for a file that is no pairs file.
    """
    known = known_sets(registry)
    found: dict[tuple[str, str], Pairs] = {}
    for path in pairs:
        each = Pairs(path)
        found.setdefault((each.use, each.image_set), each)
    sets = [
        {
            **{"name": name, "use": use, "images": len(each), "protocol": each.protocol.name},
            "sources": each.sources,
            **_of_registry(known.get(name)),
        }
        for (use, name), each in found.items()
    ]
    return {"sets": sets, "doubles": _doubles(list(found.values()))}


def _of_registry(entry: ImageSet | None) -> dict[str, str]:
    if entry is None:
        return {"checked": "not in the registry", "terms": "unknown"}
    archives = any(isinstance(source, ArchiveSource) for source in entry.sources)
    if entry.files:
        checked = "the pixels of each image, by hash"
    else:
        checked = "the archive, by hash" if archives else "the number of images"
    return {"checked": checked, "terms": entry.terms}


def _doubles(sets: Sequence[Pairs]) -> list[str]:
    same_pixels, same_file = defaultdict(list), defaultdict(list)
    for each in sets:
        for name, pixels, sha256 in zip(each.names, each.pixels, each.hashes, strict=True):
            same_pixels[each.image_set, each.use, pixels].append(name)
            same_file[sha256].append((each.image_set, name))
    told = [
        f"{' and '.join(names)} of {image_set} are the same image"
        for (image_set, _, _), names in same_pixels.items()
        if len(names) > 1
    ]
    for places in same_file.values():
        by_set = dict(places)  # one of each
        if len(by_set) > 1:
            where = " and ".join(f"{name} of {image_set}" for image_set, name in by_set.items())
            told.append(f"{where} are the same file")
    return told


def settings(cells: Sequence[Path]) -> list[tuple[str, str]]:
    """The resolved settings of trained cells, as JSON under headings; what is the same once."""
    parsed = [read_cell(cell / "cell.json") for cell in cells]
    groups: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for cell in parsed:
        for kind, content in _parts(cell).items():
            groups[kind][json.dumps(content, indent=1)].append(cell.name.rpartition("_seed")[0])
    told = []
    for kind, variants in groups.items():
        for text, names in variants.items():
            several = f" of {', '.join(dict.fromkeys(names))}" if len(variants) > 1 else ""
            told.append((f"{kind}{several}", text))
    return told


def _parts(cell: Cell) -> Mapping[str, Any]:
    content = cell.model_dump(mode="json")
    parts = {
        "Recipe": content["recipe"],
        f"Network {cell.backbone_name}": content["backbone"],
        f"Loss {cell.loss_name}": {"preset": cell.preset, **content["loss"]},
        "Images": {key: content[key] for key in ("train", "protocol", "validation")},
    }
    return parts | ({"Start": content["start"]} if cell.start else {})
