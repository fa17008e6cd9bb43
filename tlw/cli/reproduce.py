"""Verbs about what the trainings of this repository say of the paper's claims."""

from pathlib import Path
from typing import Annotated

import typer


def reproduce(
    add: Annotated[
        list[Path] | None,
        typer.Option(
            "--add",
            help="Results folder whose finished and scored cells go into the scores first; its "
            "name is the study's. Repeatable.",
            show_default="none",
        ),
    ] = None,
    scores: Annotated[Path, typer.Option(help="The scores that everything is made from.")] = Path(
        "resources/reproduced.csv"
    ),
    page: Annotated[
        Path, typer.Option(help="The page that gets the results, between its two marks.")
    ] = Path("docs/reproduction.md"),
    front: Annotated[
        Path | None,
        typer.Option(
            help="A page that gets the verdicts alone, as README.md.", show_default="none"
        ),
    ] = None,
) -> None:
    """Makes the verdicts on the paper's claims, and all numbers of their page, from the scores."""
    from tlw.report.claims import CLAIMS, compared, verdict
    from tlw.report.reproduced import add as add_runs
    from tlw.report.reproduced import in_study, read_reproduced
    from tlw.report.reproduction import put, studies, summary, write_page

    found = add_runs(add, scores) if add else read_reproduced(scores)
    write_page(found, page, page.parent / "reproduction")
    if front is not None:
        put(front, summary(found))
    for study in studies(found):
        part = in_study(found, study)
        for claim in CLAIMS:
            said = verdict(compared(part, claim.pairs, claim.metrics))
            print(f"{study}: {claim.name}, {claim.words}: {said}")  # noqa: T201
    if found.empty:
        print(f"{scores}: no training has been scored yet")  # noqa: T201
