"""What the image sets are: the registry file resources/datasets.yaml and its manifests.

Nothing is fetched here, see tlw/data/fetch.py.
"""

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import quote

import yaml
from pydantic import AfterValidator, Field, NonNegativeInt, PositiveInt, model_validator

from tlw.config.schema import Model, Name
from tlw.runtime.errors import one_of, shown, without_secrets

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
REGISTRY_BYTES, TABLE_BYTES = 1 << 20, 64 << 20  # at most; ours have 6,000 and 140,000
DEPTH = 20  # of lists and keys inside each other at most; ours have 5
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


class PackageSource(Model):
    """Files that an installed Python package ships."""

    kind: Literal["package"]
    package: Literal["skimage"]  # of which no code is run: data must not name what is imported
    folder: str = Field(pattern=r"^\w+(/\w+)*$", description="inside the package")


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
    use: Literal["train", "test"]
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
        names = {Path(file.file).stem for file in self.files}  # by which images are called
        if self.files and len(names) != self.images:
            raise ValueError(f"images is {self.images}, but the manifest has {len(names)}")
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
                "files": read_manifest(path.parent / str(entry["manifest"]))
            }
        if isinstance(entry, dict):
            entry = {**entry, "name": name}
        try:
            sets[name] = ImageSet.parse(entry, f"{path}: {name}")
        except ValueError as problem:  # it shows what it found, URLs, too
            raise ValueError(without_secrets(str(problem))) from None
    return sets


def read_manifest(path: Path, row: type[Row] = KnownFile) -> list[Row]:
    """The rows of a table of files; ValueError with file, line and column for what is none."""
    rows = enumerate(_table(path, list(row.model_fields)), 2)
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


def read_yaml(path: Path) -> Any:
    """The content of a YAML file.

    Raises:
        ValueError: naming the file and the line.
    """
    text, depth = _text(path, REGISTRY_BYTES), 0
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            line = event.start_mark.line + 1
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > DEPTH:
                raise ValueError(f"line {line}: expected {DEPTH} levels at most, found more")
            if isinstance(event, yaml.AliasEvent):
                raise ValueError(f"line {line}: aliases are not read here; write it out again")
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as problem:
        raise ValueError(f"{path} cannot be read as YAML: {problem}") from None


def _table(path: Path, columns: list[str]) -> list[dict[str, str]]:
    """The rows of a tab-separated table whose header has exactly these columns."""
    if not path.is_file():
        raise ValueError(f"{path}: this table is missing")
    text = _text(path, TABLE_BYTES)
    if text.startswith("\ufeff"):
        raise ValueError(f"{path}, line 1: begins with a byte order mark; save it as UTF-8 without")
    rows = csv.reader(io.StringIO(text, ""), delimiter="\t", strict=True)
    table: list[dict[str, str]] = []
    try:
        header = next(rows, [])
        if sorted(header) != sorted(columns):
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
