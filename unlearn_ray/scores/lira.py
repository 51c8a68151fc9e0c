"""LiRA: per-sample likelihood ratios on the models before unlearning."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.evidence.likelihood import offline, online
from unlearn_ray.evidence.masks import FORGET, RETAIN
from unlearn_ray.scores.attacks import Attack, MaskedAttack, attack_columns
from unlearn_ray.scores.base import MaskedBank


@register("lira")
@schema
class Lira(MaskedAttack):
    """LiRA of the original models: how much there is to unlearn.

    Carlini et al., "Membership Inference Attacks From First Principles", IEEE S&P 2022, online
    (IN against OUT) and offline (OUT alone). A sample is IN if it is in a model's training set,
    whether it is unlearned later or not. Each block of models is scored by Gaussians fitted on all
    other blocks; `evidence.likelihood` says when samples share a variance.
    """

    of_original: ClassVar[bool] = True
    columns: ClassVar[dict[str, str]] = {
        **attack_columns("lira", "LiRA"),
        **attack_columns("lira_offline", "LiRA offline"),
    }

    def attacks(self, bank: MaskedBank) -> Mapping[str, Attack]:
        """Online and offline."""
        members = (RETAIN, FORGET)
        return {
            "lira": Attack(members, partial(online, bank.original, members=members)),
            "lira_offline": Attack(members, partial(offline, bank.original)),
        }
