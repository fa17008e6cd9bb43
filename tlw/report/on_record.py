"""How the numbers of a table came about: what is on record of its cells, as Markdown."""

import pandas as pd

from tlw.report.typeset import pipes

# What a record says: of each cell, and what is told once when it is the same for all of them.
OF_CELL = ["cell", "seed", "parameters", "steps", "training_seconds", "digest"]
OF_ALL = ["preset", "protocol", "precision", "precision_used", "device", "commit", "versions"]


def to_markdown(records: pd.DataFrame) -> str:
    """The trained cells' records as a table, and as a list what all share; then the imported.

    Args:
        records: from `tlw.report.tables.read_records`; without any the text is empty.
    """
    if records.empty:
        return ""
    imported = records[records["source"].notna()] if "source" in records else records[:0]
    parts = [*_of_trained(records.drop(imported.index)), *_of_imported(imported)]
    return "\n\n".join(["\n## How these numbers came about", *parts]) + "\n"


def _of_imported(records: pd.DataFrame) -> list[str]:
    if records.empty:
        return []
    shown = records[["cell", "parameters", "source", "sha256"]].copy()
    shown["parameters"] = shown["parameters"].map("{:,}".format)
    heads = ["Imported", "Parameters", "Checkpoint", "SHA-256"]
    told = "Not trained here, but imported from checkpoints:"
    return [told, pipes(heads, shown.values.tolist())]


def _of_trained(records: pd.DataFrame) -> list[str]:
    if records.empty:
        return []
    records = records.fillna("–")
    shared = [key for key in OF_ALL if records[key].nunique() == 1]
    shown = records[OF_CELL + [key for key in OF_ALL if key not in shared]].copy()
    shown["parameters"] = shown["parameters"].map("{:,}".format)
    shown["training_seconds"] = shown["training_seconds"].map(_clock)
    heads = [_label(key) for key in shown.columns]
    same = "\n".join(f"- {_label(key)}: {records[key].iloc[0]}" for key in shared)
    parts = [pipes(heads, shown.astype(str).values.tolist())]
    return [*parts, f"The same for all of them:\n\n{same}"] if shared else parts


def _label(key: str) -> str:
    return "Training (h:mm:ss)" if key == "training_seconds" else key.capitalize()


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
