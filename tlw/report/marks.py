"""The marks of real differences, and the sentences that explain them under a caption.

All of them read the columns of `tlw.report.statistics.differences`.
"""

import pandas as pd

MARKS = {"better": "▲", "worse": "▼"}  # a real difference
FEW = 20  # images or seeds; with fewer an interval is too short by ten percent and more


def note_of_marks(table: pd.DataFrame) -> str:
    """What the marks of a table mean, and what they do not."""
    compared = table[table["against"].notna()]
    if compared["low"].isna().all():
        return f"No marks of real differences. {limits(compared)}"
    losses = compared.drop_duplicates(["loss", "against"]).groupby("against", sort=False)["loss"]
    twins = ", ".join(f"{' and '.join(those)} than {twin}" for twin, those in losses)
    return (
        f"▲ better, ▼ worse than the same network with the unweighted loss ({twins}): the 95 % "
        f"interval of the mean difference, a paired bootstrap over {resampled(compared)}, leaves "
        f"0 out. {limits(compared)}"
    )


def resampled(differences: pd.DataFrame) -> str:
    """What the intervals come from: other images, or other seeds, too."""
    return "images and seeds" if (differences["pairs"] > 1).any() else "images"


def limits(differences: pd.DataFrame) -> str:
    """How far intervals can be trusted, and where there are none."""
    sizes = differences.drop_duplicates("benchmark").set_index("benchmark")["images"]
    given = differences[differences["low"].notna()]
    without = differences[differences["low"].isna()]
    rough = [
        f"{name} ({sizes[name]} images)"
        for name in given["benchmark"].unique()
        if sizes[name] < FEW
    ]
    seeds = sorted(count for count in given["pairs"].unique() if 1 < count < FEW)
    rough += [f"{' or '.join(map(str, seeds))} seeds"] if seeds else []
    sentences = []
    if len(given):
        sentences.append("Intervals are for each number alone, not corrected for their count")
        sentences[-1] += (
            f"; rough where images or seeds are few: {', '.join(rough)}." if rough else "."
        )
    if (given["pairs"] == 1).any():
        sentences.append("With one seed they say nothing about other seeds.")
    if len(without):
        names = ", ".join(f"{n} ({sizes[n]} images)" for n in without["benchmark"].unique())
        sentences.append(f"No interval, since images are too few or a PSNR is infinite: {names}.")
    return " ".join(sentences)
