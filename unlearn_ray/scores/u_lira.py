"""U-LiRA: per-sample likelihood ratios between unlearned samples and samples never seen."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.evidence.likelihood import online
from unlearn_ray.evidence.masks import FORGET, RETAIN
from unlearn_ray.scores.attacks import Attack, MaskedAttack, attack_columns
from unlearn_ray.scores.base import MaskedBank


@register("u_lira")
@schema
class ULira(MaskedAttack):
    """U-LiRA of unlearned models, for forget samples and for retain samples.

    Hayes et al., "Inexact Unlearning Needs More Careful Evaluations to Avoid a False Sense of
    Privacy", 2024. Both sides are read on unlearned models: a forget (retain) sample on those that
    unlearned (kept) it, against the same sample on those that were never trained on it, after
    their own unlearning. Each block of models is scored by Gaussians fitted on all other blocks;
    `evidence.likelihood` says when samples share a variance.

    Retraining is at chance on forget samples, and as far above it on retain samples as any
    training: there a method is compared with retraining, not with the null.
    """

    columns: ClassVar[dict[str, str]] = {
        **attack_columns("u_lira_forget", "U-LiRA forget"),
        **attack_columns("u_lira_retain", "U-LiRA retain"),
    }
    least: ClassVar[int] = 12

    def attacks(self, bank: MaskedBank) -> Mapping[str, Attack]:
        """On forget samples and on retain samples."""
        sides = {f"{self.name}_forget": (FORGET,), f"{self.name}_retain": (RETAIN,)}
        return {
            name: Attack(members, partial(online, bank.unlearned, members=members))
            for name, members in sides.items()
        }
