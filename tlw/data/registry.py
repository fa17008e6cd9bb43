"""What the image sets are: the registry file resources/datasets.yaml and its manifests.

Nothing is fetched here, see tlw/data/fetch.py.
"""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from tlw.config.schema import Model, Name
from tlw.config.settings import Use
from tlw.config.yaml_file import read_yaml
from tlw.runtime.errors import one_of

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class KnownFile(Model):
    """One row of a manifest."""

    file: str = Field(pattern=r"^[^/\\]+$", description="name, without folders")
    bytes: NonNegativeInt
    sha256: Digest
    sha256_rgb_pixels: Digest = Field(description="of the 8-bit RGB pixels, row by row")


class PackageSource(Model):
    """Files that an installed Python package ships. It is found, not imported."""

    kind: Literal["package"]
    package: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="its import name")
    folder: str = Field(description="inside the package")


class FilesSource(Model):
    """One download for each file of the manifest."""

    kind: Literal["files"]
    urls: tuple[str, ...] = Field(
        min_length=1, description="mirrors in order; {name} and {stem} stand for the file's name"
    )

    def urls_of(self, file: str) -> list[str]:
        """The mirrors of one file."""
        return [url.format(name=file, stem=Path(file).stem) for url in self.urls]

    @model_validator(mode="after")
    def _only_known_fields(self) -> "FilesSource":
        try:
            self.urls_of("image.png")
        except (KeyError, IndexError, ValueError) as problem:
            raise ValueError(f"urls: only {{name}} and {{stem}} are known: {problem}") from problem
        return self


class ArchiveSource(Model):
    """One zip or tar archive."""

    kind: Literal["archive"]
    urls: tuple[str, ...] = Field(min_length=1, description="mirrors in order")
    sha256: Digest
    bytes: PositiveInt | None = None
    members: str = Field(description="glob pattern of the images' names in the archive")


class ManualSource(Model):
    """Nothing that a program may get."""

    kind: Literal["manual"]
    instructions: str


Source = Annotated[
    PackageSource | FilesSource | ArchiveSource | ManualSource, Field(discriminator="kind")
]


class ImageSet(Model):
    """One entry of the registry."""

    name: Name
    use: Use
    images: PositiveInt = Field(description="how many there are")
    terms: str = Field(description="licence, or what is known of it")
    sources: tuple[Source, ...] = Field(min_length=1, description="tried in order")
    files: tuple[KnownFile, ...] = Field(
        default=(), description="from the key `manifest`, a table beside the registry"
    )

    @property
    def by_hand(self) -> bool:
        """Whether no program may get it, only its users."""
        return all(isinstance(source, ManualSource) for source in self.sources)

    def instructions(self, folder: Path) -> str:
        """How its users get it into `folder/<name>`."""
        steps = [source.instructions for source in self.sources if isinstance(source, ManualSource)]
        return (
            f"the image set {self.name} has to be got by hand ({self.terms}) {' '.join(steps)} "
            f"Put the {self.images} images into {folder / self.name}, or run "
            f"`tlw fetch {self.name} --from FOLDER`"
        )

    @model_validator(mode="after")
    def _files_are_all(self) -> "ImageSet":
        if self.files and len(self.files) != self.images:
            raise ValueError(f"images is {self.images}, but the manifest has {len(self.files)}")
        if not self.files and any(s.kind in ("package", "files") for s in self.sources):
            raise ValueError("sources of kind package and files need a manifest")
        return self


def load_registry(path: Path) -> dict[str, ImageSet]:
    """The image sets of a registry file (resources/datasets.yaml), by name.

    Raises:
        ValueError: naming the file and the key.
    """
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a table of image sets by name")
    sets = {}
    for name, entry in content.items():
        if isinstance(entry, dict) and "manifest" in entry:
            entry = {k: v for k, v in entry.items() if k != "manifest"} | {
                "files": read_table(path.parent / str(entry["manifest"]))
            }
        if isinstance(entry, dict):
            entry = {**entry, "name": name}
        sets[name] = ImageSet.parse(entry, f"{path}: {name}")
    return sets


def not_at_hand(
    names: Iterable[str], registry: Mapping[str, ImageSet], folder: Path
) -> list[ImageSet]:
    """The sets that only their users can get, and that have nothing in `folder/<name>` yet.

    Raises:
        ValueError: for a name that the registry does not have.
    """
    names = list(names)
    for name in names:
        if name not in registry:
            raise ValueError(one_of(name, registry))
    return [registry[name] for name in names if registry[name].by_hand and empty(folder / name)]


def empty(folder: Path) -> bool:
    """Whether a folder has nothing in it, or is not there."""
    return not folder.exists() or not any(folder.iterdir())


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a tab-separated table with a header."""
    if not path.is_file():
        raise ValueError(f"{path}: this table is missing")
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))
