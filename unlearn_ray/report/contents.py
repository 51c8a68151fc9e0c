"""What a report shows, in its order: the one list of sections and of the figures in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unlearn_ray.report.figures.alignment_matrices import alignment_matrices
from unlearn_ray.report.figures.attack_curves import attack_curves
from unlearn_ray.report.figures.bank_curves import bank_curves
from unlearn_ray.report.figures.best_so_far import best_so_far
from unlearn_ray.report.figures.block_cka import block_cka
from unlearn_ray.report.figures.class_predictions import class_predictions
from unlearn_ray.report.figures.confidence_histograms import confidence_histograms
from unlearn_ray.report.figures.costs import costs
from unlearn_ray.report.figures.fronts import fronts
from unlearn_ray.report.figures.hyperparameters import READING, importances, parallel_coordinates
from unlearn_ray.report.figures.loss_curves import loss_curves
from unlearn_ray.report.figures.per_seed import per_seed
from unlearn_ray.report.figures.sample_distances import sample_distances

if TYPE_CHECKING:
    from unlearn_ray.report.evidence import SweepEvidence
    from unlearn_ray.report.figure import Figure

Draw = Callable[["SweepEvidence"], "list[Figure]"]


@dataclass(frozen=True)
class Section:
    """A section of figures; it is left out if none of them has anything to draw.

    Attributes:
        anchor: of its heading.
        title: its heading.
        draws: what draws its figures, in order.
        reading: how to read them, if that is not in their captions.
    """

    anchor: str
    title: str
    draws: tuple[Draw, ...]
    reading: str = ""


SECTIONS = (
    Section("runs", "Every run", (per_seed,)),
    Section("fronts", "Gap, test accuracy and time", (fronts,)),
    Section("searches", "Best so far, for equal budgets", (best_so_far,)),
    Section("fields", "What the searches tried", (parallel_coordinates, importances), READING),
    Section("attacks", "Attacks", (attack_curves, bank_curves)),
    Section(
        "confidence", "Confidence, sample by sample", (confidence_histograms, sample_distances)
    ),
    Section("alignment", "Alignment", (alignment_matrices,)),
    Section("predictions", "Predictions by class", (class_predictions,)),
    Section("blocks", "Block by block", (block_cka,)),
    Section("losses", "Loss curves", (loss_curves,)),
    Section("costs", "Costs", (costs,)),
)


def drawn(evidence: SweepEvidence) -> list[tuple[Section, list[Figure]]]:
    """The sections that have something to show, with their figures."""
    from altair.utils.schemapi import debug_mode

    with debug_mode(False):  # else Altair validates each part as it is made; see `page.chart_spec`
        found = [
            (section, [figure for draw in section.draws for figure in draw(evidence)])
            for section in SECTIONS
        ]
    return [(section, figures) for section, figures in found if figures]
