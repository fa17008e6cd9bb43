"""The command `tlw`: one verb for each stage of the workflow. Says no science of its own.

The verbs stand in the modules here, by what they are about. What a verb needs is imported inside
it, so that help and mistakes come before torch does.
"""

import logging
import signal
import sys
import warnings
from collections.abc import Callable
from io import TextIOWrapper
from typing import Annotated, Any, cast

import typer

from tlw import __version__
from tlw.cli import audits, configs, costs, doctor, figures, inputs, networks, reproduce, scores
from tlw.runtime.errors import printable
from tlw.runtime.stopping import stopping_signals

log = logging.getLogger("tlw")

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Trainable Loss Weights in super-resolution: the stages of the workflow, one by one.",
)

# Named here, not by a decorator on each: help lists them in this order, which is that of the work.
_VERBS: dict[str, Callable[..., Any]] = {
    "fetch": inputs.fetch,
    "fetch-weights": inputs.fetch_weights,
    "pairs": inputs.pairs,
    "downscale": audits.downscale,
    "cell": configs.cell,
    "train": networks.train,
    "estimate": networks.estimate,
    "pack": networks.pack,
    "unpack": networks.unpack,
    "evaluate": scores.evaluate,
    "import": networks.import_,
    "score": scores.score,
    "audit": audits.audit,
    "verify": audits.verify,
    "tables": scores.tables,
    "compare": scores.compare,
    "pictures": figures.pictures,
    "figures": figures.figures,
    "report": figures.report,
    "cite": scores.cite,
    "reproduce": reproduce.reproduce,
    "upscale": networks.upscale,
    "cost": costs.cost,
    "export": costs.export,
    "schema": configs.schema,
    "status": configs.status,
    "doctor": doctor.doctor,
}
for _name, _verb in _VERBS.items():
    app.command(_name)(_verb)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"tlw {__version__}")  # noqa: T201
        raise typer.Exit


@app.callback()
def _main(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Warnings and errors only.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Errors with their traceback.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="The version."),
    ] = False,
) -> None:
    level = logging.WARNING if quiet else logging.INFO
    handler = logging.StreamHandler()
    handler.setFormatter(_Printable("%(message)s"))
    logging.basicConfig(level=level, handlers=[handler])
    log.setLevel(logging.DEBUG if debug else logging.NOTSET)
    warnings.filterwarnings("ignore", module="PIL")  # of metadata, which is not used


class _Printable(logging.Formatter):
    """Messages whose file names, or servers' words, cannot steer a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def main() -> None:
    """Runs the command; a mistake of the user's is told in its own words, without a traceback."""
    for stream in (sys.stdout, sys.stderr):  # what a terminal lacks a sign for is no failure
        cast(TextIOWrapper, stream).reconfigure(errors="replace")
    for number in stopping_signals():
        if number != signal.SIGINT:  # which Python makes a KeyboardInterrupt of
            signal.signal(number, _leave)  # the default would leave half a file aside
    try:
        app()
    except (ValueError, OSError, FloatingPointError) as error:
        log.debug("The error came from here:", exc_info=True)
        sys.exit(printable(f"tlw: error: {_told(error)}"))


def _leave(number: int, _: object) -> None:
    raise SystemExit(128 + number)


def _told(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}"
    return str(error)
