"""Building pairs on one core and on all; reading them against decoding and resizing each time.

Both give lr and hr as the trainer takes them: hr in 8 bits, lr as the protocol leaves it.
The goal: a pair is read at least 15 times as fast as its image is decoded and resized.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from cases import PHOTOGRAPHS, photograph
from common import RATIO_HEADER, cores, interleave, parser, print_table, ratio, ratio_rows, start
from torch import Tensor

from tlw.data.pairs import Pairs, write_pairs
from tlw.data.protocols import protocol
from tlw.imaging.image_files import read_image
from tlw.imaging.ranges import crop_to_multiple

GOAL = 15


def decoded(path: Path, scale: int, multiple: int) -> tuple[Tensor, Tensor]:
    """lr and hr of an image file, made anew as `tlw.data.pairs` would make them."""
    hr = crop_to_multiple(read_image(path), multiple)
    lr = protocol("paper").downsample(hr, scale)
    return tuple(torch.from_numpy(image).permute(2, 0, 1) for image in (lr, hr))


def main() -> None:
    found = parser(__doc__)
    found.add_argument("--scale", dest="scales", type=int, nargs="+", default=[2, 4])
    found.add_argument("--images", type=Path, nargs="+", default=list(map(photograph, PHOTOGRAPHS)),
                       help="files (default: photographs that scikit-image ships)")  # fmt: skip
    found.add_argument("--copies", type=int, help="of each image (default 8, quick 1)")
    options = start(found)
    images = options.images * (options.copies or (1 if options.quick else 8))
    print(f"{len(images)} images, {len(options.images)} of them different, protocol paper\n")
    with TemporaryDirectory() as folder:
        for scale in options.scales:
            print(f"x{scale}\n")
            measure(images, Path(folder), scale, options.rounds)


def measure(images: list[Path], folder: Path, scale: int, rounds: int) -> None:
    """Times building and reading at one scale and prints its table."""

    def build(workers: int) -> Path:
        target = folder / f"x{scale}_{workers}.h5"
        write_pairs(images, target, name="photographs", scale=scale, protocol=protocol("paper"),
                    use="train", workers=workers)  # fmt: skip
        return target

    every, one = f"building on {cores()} cores", "building on 1 core"
    built = interleave({one: lambda: build(1), every: lambda: build(cores())}, rounds=rounds)

    pairs = Pairs(build(1))
    check(pairs, images)
    side = min(min(size) for size in pairs.sizes) // scale // 2
    decoding = "decoding and resizing"
    read = interleave(
        {
            decoding: lambda: [decoded(path, scale, pairs.multiple) for path in images],
            "reading pairs": lambda: [pairs.stored(i) for i in range(len(pairs))],
            "reading crops": lambda: [pairs.crop(i, 1, 1, side) for i in range(len(pairs))],
        },
        rounds=rounds,
    )
    print_table(
        RATIO_HEADER,
        [
            *ratio_rows(built, [(every, one)]),
            *ratio_rows(read, [("reading pairs", decoding), ("reading crops", decoding)]),
        ],
    )
    reached = "reached" if ratio(read, "reading pairs", decoding) >= GOAL else "missed"
    print(f"The goal, pairs read {GOAL} times as fast as decoded and resized: {reached}\n")


def check(pairs: Pairs, images: list[Path]) -> None:
    """Stops where the two ways do not give the same images."""
    for index, path in enumerate(images):
        made = decoded(path, pairs.scale, pairs.multiple)
        if not all(map(torch.equal, pairs.stored(index), made)):
            raise SystemExit(f"{path}: read from pairs it is another image than decoded")


if __name__ == "__main__":
    main()
