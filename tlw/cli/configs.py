"""Verbs about what a config says, which need no image and no network."""

from pathlib import Path
from typing import Annotated

import typer

from tlw.cli.options import Output


def cell(
    content: Annotated[str, typer.Argument(help="The cell's resolved config, as JSON.")],
    output: Output,
) -> None:
    """Checks a cell's resolved config and writes it to a file, for `train` to read."""
    import json

    from tlw.config.config import Cell
    from tlw.runtime.files import written_aside

    try:
        parsed = Cell.parse(json.loads(content), "cell")
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"cell: expected JSON, found {content[:80]!r}: {error}") from None
    with written_aside(output) as aside:
        aside.write_text(parsed.model_dump_json(indent=2) + "\n")


def schema() -> None:
    """Prints the JSON schema of a config file."""
    import json

    from tlw.config.config import Config

    print(json.dumps(Config.model_json_schema(), indent=2))  # noqa: T201


def status(
    config: Annotated[Path, typer.Argument(help="A config file.")] = Path("config/config.yaml"),
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Says where each cell of a config stands; exit code 1 when one has failed."""
    import json

    from tlw.config.config import Config
    from tlw.config.yaml_file import read_yaml
    from tlw.report.status import statuses, told

    found = statuses(Config.parse(read_yaml(config), str(config)))
    lines = json.dumps([one.model_dump() for one in found], indent=2) if as_json else told(found)
    print(lines)  # noqa: T201
    if any(one.state == "failed" for one in found):
        raise typer.Exit(1)
