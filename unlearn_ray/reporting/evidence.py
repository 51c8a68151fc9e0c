"""What the replicates behind a table bear: noise floors, excess gaps, verdicts and ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from unlearn_ray.evidence.floors import NoiseFloor, noise_floor
from unlearn_ray.evidence.permutations import Models
from unlearn_ray.evidence.populations import ExcessGap, excess_gaps
from unlearn_ray.evidence.verdicts import Judgement, Verdict, judge, mean_gap

LEVEL = 0.05
_DESERVING = (Verdict.INDISTINGUISHABLE, Verdict.BETTER)


@dataclass(frozen=True)
class Evidence:
    """What a table's replicates bear.

    Attributes:
        replicates: the number of retrained models of each split, at most.
        floors: the noise floor of each metric column.
        excess: the excess gap of each study's metric columns.
        judgements: of each study that has models.
        original: mean gap of the original models in noise floors; NaN if they were not measured.
    """

    replicates: int
    floors: Mapping[str, NoiseFloor]
    excess: Mapping[str, Mapping[str, ExcessGap]]
    judgements: Mapping[str, Judgement]
    original: float

    @property
    def starred(self) -> frozenset[str]:
        """The studies that no other is better than, and that do better than nothing."""
        return frozenset(
            name
            for name, judgement in self.judgements.items()
            if judgement.rank == 1 and judgement.verdict in _DESERVING
        )


def evidence(
    studies: Mapping[str, pd.DataFrame],
    original: pd.DataFrame,
    retrained: pd.DataFrame,
    columns: Sequence[str],
    counted: Sequence[str],
) -> Evidence | None:
    """The evidence; None if no split has two retrained models, or no metric counts.

    Args:
        studies: complete rows of each study's winner, by the study's name.
        original, retrained: rows of the reference models.
        columns: the metric columns of the table.
        counted: those that count in the average gap, which verdicts are about.
    """
    of_retrained = models(retrained, counted)
    if not counted or max(map(_several, of_retrained.values()), default=0) < 2:
        return None
    of_studies = {name: models(rows, counted) for name, rows in studies.items() if len(rows)}
    of_original = models(original, counted)
    every_retrained = models(retrained, columns)
    return Evidence(
        replicates=max(map(_several, of_retrained.values())),
        floors={
            name: noise_floor({seed: of[:, number] for seed, of in every_retrained.items()})
            for number, name in enumerate(columns)
        },
        excess={
            study: dict(
                zip(columns, excess_gaps(models(rows, columns), every_retrained), strict=True)
            )
            for study, rows in studies.items()
            if len(rows)
        },
        judgements=judge(of_studies, of_original, of_retrained, LEVEL),
        original=mean_gap(of_original, of_retrained),
    )


def models(rows: pd.DataFrame, columns: Sequence[str]) -> Models:
    """By split seed, the metrics of each replicate; a row of NaN for one that is missing."""
    # In NumPy: selecting rows of a frame takes a millisecond for each study and seed.
    seeds, replicates = rows["seed"].to_numpy(), rows["replicate"].to_numpy()
    numbers = [rows[name].to_numpy(dtype=float, na_value=np.nan) for name in columns]
    values = np.column_stack(numbers) if numbers else np.empty((len(rows), 0))
    by_split = {}
    for seed in np.unique(seeds):
        own = seeds == seed
        # A metric's values lie together: means over metrics depend on it in their last bits.
        every = np.full((int(replicates[own].max()) + 1, len(columns)), np.nan, order="F")
        every[replicates[own]] = values[own]
        by_split[int(seed)] = every
    return by_split


def _several(values: np.ndarray) -> int:
    return int((~np.isnan(values).any(axis=1)).sum())
