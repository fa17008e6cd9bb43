"""What is on record of a finished training, record.json: the trainer writes it, tables read it.

No torch in here, see `tlw.config.schema`.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from tlw.config.schema import Model
from tlw.config.settings import Precision, PresetName


class Sitting(Model):
    """One run of `tlw train`. A training that was stopped and gone on with has had several."""

    start: NonNegativeInt = Field(description="steps done before")
    device: str = Field(description="what a person calls it")
    ranks: PositiveInt = Field(description="processes that shared each batch")
    precision_used: Precision = Field(description="float32 where the device has no bfloat16")
    cuda_graphs: bool = Field(description="whether steps were replayed")
    commit: str | None = Field(description="of the source tree, with + for changes; in a clone")
    versions: dict[str, str] = Field(description="of Python, this package, and what computes")


class Record(Model):
    """A finished training: with `cell.json`, what is needed to judge its numbers."""

    cell: str = Field(description="its name, backbone_xS_loss_seedN")
    digest: str = Field(description="of its config")
    preset: PresetName = Field(description="the reading of the method")
    protocol: str = Field(description="how its pairs were made")
    seed: NonNegativeInt = Field(description="of everything that is drawn at random")
    parameters: NonNegativeInt = Field(description="of the super-resolution network")
    steps: PositiveInt = Field(description="of its optimiser")
    scored_step: PositiveInt = Field(
        description="after which its saved weights are: the last, or the best by validation"
    )
    validation: dict[int, float] = Field(
        description="PSNR on the validation images, in dB, by steps done"
    )
    start: str | None = Field(description="SHA-256 of the weights file that it started from")
    training_seconds: NonNegativeFloat = Field(description="over all sittings")
    precision: Precision = Field(description="that was asked for")
    gradient_rms: dict[int, NonNegativeFloat] = Field(
        description="root mean square of the network's gradient at steps 1, 10, 100, ...: beside "
        "Adam's eps, the scale of the loss"
    )
    pairs: dict[str, str] = Field(description="digests of the training sets' pairs, by name")
    finished: str = Field(description="when, in UTC")
    sittings: tuple[Sitting, ...] = Field(min_length=1, description="its runs, in their order")

    def row(self) -> dict[str, Any]:
        """On one line: what differs from sitting to sitting is joined by "then"."""
        row = self.model_dump(exclude={"sittings", "pairs", "gradient_rms", "validation"})
        row["pairs"] = " ".join(f"{name} {digest[:12]}" for name, digest in self.pairs.items())
        sittings = [sitting.model_dump(exclude={"start"}) for sitting in self.sittings]
        for sitting in sittings:
            sitting["versions"] = " ".join(f"{k} {v}" for k, v in sitting["versions"].items())
        for key in sittings[0]:
            found = dict.fromkeys(sitting[key] for sitting in sittings)  # each once, in order
            row[key] = next(iter(found)) if len(found) == 1 else " then ".join(map(str, found))
        return row


def read_record(path: Path) -> Record:
    """A record.json; ValueError names the file and what is wrong."""
    source = f"{path}: no record of `tlw train`"
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{source}: {error}") from None
    return Record.parse(content, source)
