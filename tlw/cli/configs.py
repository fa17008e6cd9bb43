"""Verbs about what a config says, which need no image and no network."""

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
