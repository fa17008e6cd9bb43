"""The recorded outputs of the authors' code; tests/golden/README.md says how they came about."""

from pathlib import Path

GOLDEN = Path(__file__).parents[1] / "golden"
