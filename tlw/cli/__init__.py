"""The command `tlw`: one verb for each stage of the workflow. Says no science of its own.

The verbs stand in the modules here, by what they are about. What a verb needs is imported inside
it, so that help and mistakes come before torch does.
"""

import logging
import signal
import sys
import warnings
from typing import Annotated

import typer

from tlw.cli import audits, configs, costs, inputs, networks, scores

log = logging.getLogger("tlw")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Trainable Loss Weights in super-resolution: the stages of the workflow, one by one.",
)

# Named here, not by a decorator on each: help lists them in this order, which is that of the work.
_VERBS = {
    "fetch": inputs.fetch,
    "fetch-weights": inputs.fetch_weights,
    "pairs": inputs.pairs,
    "downscale": audits.downscale,
    "cell": configs.cell,
    "train": networks.train,
    "evaluate": scores.evaluate,
    "import": networks.import_,
    "score": scores.score,
    "audit": audits.audit,
    "tables": scores.tables,
    "compare": scores.compare,
    "upscale": networks.upscale,
    "cost": costs.cost,
    "export": costs.export,
    "schema": configs.schema,
}
for _name, _verb in _VERBS.items():
    app.command(_name)(_verb)


@app.callback()
def _main(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Warnings and errors only.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Errors with their traceback.")] = False,
) -> None:
    level = logging.WARNING if quiet else logging.INFO
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr)
    log.setLevel(logging.DEBUG if debug else logging.NOTSET)
    warnings.filterwarnings("ignore", module="PIL")  # of metadata, which is not used


def main() -> None:
    """Runs the command; a mistake of the user's is told in its own words, without a traceback."""
    signal.signal(signal.SIGTERM, _leave)  # the default would leave half a file aside
    sys.unraisablehook = _stop_once_more
    try:
        app()
    except (ValueError, OSError, FloatingPointError) as error:
        log.debug("The error came from here:", exc_info=True)
        sys.exit(f"tlw: error: {_told(error)}")


def _leave(number: int, _: object) -> None:
    raise SystemExit(128 + number)


def _stop_once_more(lost: "sys.UnraisableHookArgs") -> None:  # a name for type checkers only
    """Raises a stop again, a moment later, that fell into a destructor: there Python drops it."""
    stop = lost.exc_value
    if not isinstance(stop, KeyboardInterrupt | SystemExit):
        sys.__unraisablehook__(lost)
        return

    def stop_now(*_: object) -> None:
        raise stop

    signal.signal(signal.SIGALRM, stop_now)
    signal.setitimer(signal.ITIMER_REAL, 0.01)


def _told(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}"
    return str(error)
