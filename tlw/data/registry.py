"""What the image sets are: the registry known/datasets.yaml with its manifests, and users' own.

Nothing is fetched here, see tlw/data/fetch.py.
"""

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeVar
from urllib.parse import quote, urlsplit

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveInt, model_validator

from tlw.config.schema import Model, Name
from tlw.config.settings import Use
from tlw.config.yaml_file import read_yaml
from tlw.runtime.errors import one_of, shown, without_secrets

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
KNOWN = Path(__file__).with_name("known") / "datasets.yaml"  # what the package knows
TABLE_BYTES = 64 << 20  # of a manifest at most; the largest of ours has 140,000
NAME_BYTES = 180  # of a file's name, to which locks add some


def _plain_name(name: str) -> str:
    if name.startswith(".") or not name.isprintable() or len(name.encode()) > NAME_BYTES:
        raise ValueError(
            f"expected a name of at most {NAME_BYTES} bytes that is not hidden, without control "
            f"characters, found {shown(name)}"
        )
    return name


def _known_parts(urls: tuple[str, ...]) -> tuple[str, ...]:
    for url in urls:
        if set("{}") & set(url.replace("{name}", "").replace("{stem}", "")):
            raise ValueError("only {name} and {stem} are known in braces, without anything else")
    return urls


FileName = Annotated[str, Field(pattern=r"^[^/\\]+$"), AfterValidator(_plain_name)]


class KnownFile(Model):
    """One row of a manifest."""

    file: FileName
    bytes: NonNegativeInt
    sha256: Digest
    sha256_rgb_pixels: Digest = Field(description="of the 8-bit RGB pixels, row by row")


Row = TypeVar("Row", bound=Model)


NO_SOURCE = "not on record"  # where images came from, in lists and pairs files of before


def _hosts(urls: Sequence[str]) -> str:
    """The mirrors, any of which may have given any file: their bytes are the same."""
    return " or ".join(dict.fromkeys(urlsplit(url).hostname or "this machine" for url in urls))


class PackageSource(Model):
    """Files that an installed Python package ships. It is found, not imported."""

    kind: Literal["package"]
    package: Literal["skimage"]  # of which no code is run: data must not name what is imported
    folder: str = Field(pattern=r"^\w+(/\w+)*$", description="inside the package")

    @property
    def told(self) -> str:
        """Where images came from, as their list has it."""
        return f"the Python package {self.package}"


class FilesSource(Model):
    """One download for each file of the manifest."""

    kind: Literal["files"]
    urls: Annotated[tuple[str, ...], AfterValidator(_known_parts)] = Field(
        min_length=1, description="mirrors in order; {name} and {stem} stand for the file's name"
    )

    def urls_of(self, file: str) -> list[str]:
        """The mirrors of one file, whose name is quoted."""
        name, stem = quote(file, safe=""), quote(Path(file).stem, safe="")
        return [url.replace("{name}", name).replace("{stem}", stem) for url in self.urls]

    @property
    def told(self) -> str:
        """Where images came from, as their list has it."""
        return f"files of {_hosts(self.urls)}"


class ArchiveSource(Model):
    """One zip or tar archive."""

    kind: Literal["archive"]
    urls: tuple[str, ...] = Field(min_length=1, description="mirrors in order")
    sha256: Digest
    bytes: PositiveInt | None = None
    members: str = Field(description="glob pattern of the images' names in the archive")

    @property
    def told(self) -> str:
        """Where images came from, as their list has it."""
        return f"the archive {Path(urlsplit(self.urls[0]).path).name} of {_hosts(self.urls)}"


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

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that change with the images; another mirror changes nothing."""
        images = [self.images, [(row.file, row.sha256_rgb_pixels) for row in self.files]]
        if not self.files:
            archives = (source for source in self.sources if isinstance(source, ArchiveSource))
            images += [(source.sha256, source.members) for source in archives]
        return hashlib.sha256(json.dumps(images).encode()).hexdigest()[:12]

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
        names = {Path(file.file).stem for file in self.files}  # by which images are called
        if self.files and len(names) != self.images:
            raise ValueError(f"images is {self.images}, but the manifest has {len(names)}")
        if not self.files and any(s.kind in ("package", "files") for s in self.sources):
            raise ValueError("sources of kind package and files need a manifest")
        return self


def load_registry(path: Path) -> dict[str, ImageSet]:
    """The image sets of a registry file, by name; manifests are looked for beside it.

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
                "files": read_manifest(path.parent / str(entry["manifest"]), KnownFile)
            }
        if isinstance(entry, dict):
            entry = {**entry, "name": name}
        try:
            sets[name] = ImageSet.parse(entry, f"{path}: {name}")
        except ValueError as problem:  # it shows what it found, URLs, too
            raise ValueError(without_secrets(str(problem))) from None
    return sets


def known_sets(own: Path | None = None) -> dict[str, ImageSet]:
    """The image sets that the package knows, and those of a registry file of the user's.

    Raises:
        ValueError: for a file that is no registry, and for a name that is known already: the same
            name in two papers' tables has to mean the same images.
    """
    sets = load_registry(KNOWN)
    if own is None:
        return sets
    mine = load_registry(own)
    for name in mine:
        if name in sets:
            raise ValueError(
                f"{own}: {name}: expected a name that tlw does not know yet, found one of its own "
                "image sets; choose another name"
            )
    return sets | mine


def read_manifest(path: Path, row: type[Row]) -> list[Row]:
    """The rows of a table of files; ValueError with file, line and column for what is none."""
    needed = [name for name, field in row.model_fields.items() if field.is_required()]
    rows = enumerate(_table(path, needed, list(row.model_fields)), 2)
    return [row.parse(fields, f"{path}, line {line}") for line, fields in rows]


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
    """Whether a folder is not there, or has nothing in it but what systems put into folders.

    Raises:
        ValueError: for what is no folder.
    """
    if not folder.exists():
        return True
    if not folder.is_dir():
        raise ValueError(f"{folder}: expected a folder of images, found a file")
    return all(is_litter(path) for path in folder.iterdir())


def is_litter(path: Path) -> bool:
    """Whether it is hidden, as `.DS_Store` and `._x.png` are, or what Windows hides."""
    return path.name.startswith(".") or path.name.lower() in ("thumbs.db", "desktop.ini")


def _table(path: Path, needed: list[str], columns: list[str]) -> list[dict[str, str]]:
    """The rows of a tab-separated table whose header has these columns, or at least `needed`."""
    if not path.is_file():
        raise ValueError(f"{path}: this table is missing")
    text = _text(path, TABLE_BYTES)
    if text.startswith("\ufeff"):
        raise ValueError(f"{path}, line 1: begins with a byte order mark; save it as UTF-8 without")
    rows = csv.reader(io.StringIO(text, ""), delimiter="\t", strict=True)
    table: list[dict[str, str]] = []
    try:
        header = next(rows, [])
        if sorted(header) not in (sorted(columns), sorted(needed)):
            raise ValueError(f"expected the columns {', '.join(columns)}, found {shown(header)}")
        for row in rows:
            if len(row) != len(header):
                raise ValueError(f"expected {len(header)} fields, found {len(row)}: {shown(row)}")
            table.append(dict(zip(header, row, strict=True)))
    except (csv.Error, ValueError) as problem:
        raise ValueError(f"{path}, line {max(rows.line_num, 1)}: {problem}") from None
    return table


def _text(path: Path, most: int) -> str:
    with open(path, "rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"{path}: expected {most} bytes at most, found more")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as problem:
        line = content[: problem.start].count(b"\n") + 1
        raise ValueError(f"{path}, line {line}: expected UTF-8, found other bytes") from None
