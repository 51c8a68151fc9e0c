"""RMIA: is a sample likelier under an unlearned model, for its kind, than unseen samples are?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from unlearn_ray.core.errors import DataError
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import PositiveFloat, UnitInterval, schema
from unlearn_ray.evidence.held_out import Values
from unlearn_ray.evidence.masks import FORGET, OUT, RETAIN, States
from unlearn_ray.evidence.relative import offline_ratios, online_ratios, relative_likelihood
from unlearn_ray.scores.attacks import Attack, MaskedAttack, attack_columns
from unlearn_ray.scores.base import MaskedBank


@register("rmia")
@schema
class Rmia(MaskedAttack):
    """RMIA of unlearned models, for forget samples and for retain samples.

    Zarifzadeh, Liu and Shokri, "Low-Cost High-Power Membership Inference Attacks", ICML 2024.
    Reference models are the unlearned ones of all other blocks; z are test samples, which no model
    has seen. Offline, p(x) comes from models that were not trained on x; online, from these and
    from those that unlearned (kept) it, half each.

    Attributes:
        gamma: how many times ratio(z) a ratio(x) has to be to count.
        offline_a: the slope of p(x) under models without x in p(x) under models with x.
    """

    columns: ClassVar[dict[str, str]] = {
        **attack_columns("rmia_forget", "RMIA forget"),
        **attack_columns("rmia_retain", "RMIA retain"),
        **attack_columns("rmia_offline_forget", "RMIA offline forget"),
        **attack_columns("rmia_offline_retain", "RMIA offline retain"),
    }

    gamma: PositiveFloat = 1.0
    offline_a: UnitInterval = 0.3

    def attacks(self, bank: MaskedBank) -> Mapping[str, Attack]:
        """Online and offline, on forget samples and on retain samples.

        Raises:
            DataError: the signal is no confidence, or there are no unseen samples.
        """
        _require_probabilities(bank)
        sides = {"forget": (FORGET,), "retain": (RETAIN,)}
        return {
            **{f"rmia_{side}": self._online(bank, of) for side, of in sides.items()},
            **{f"rmia_offline_{side}": self._offline(bank, of) for side, of in sides.items()},
        }

    def _online(self, bank: MaskedBank, members: tuple[int, ...]) -> Attack:
        # Unseen samples are OUT of all models.
        unseen = offline_ratios(bank.unlearned_unseen, _all_out(bank), a=1)

        def scores(states: States) -> Values:
            ratios = online_ratios(bank.unlearned, states, members)
            return relative_likelihood(ratios, unseen, self.gamma)

        return Attack(members, scores)

    def _offline(self, bank: MaskedBank, members: tuple[int, ...]) -> Attack:
        unseen = offline_ratios(bank.unlearned_unseen, _all_out(bank), self.offline_a)

        def scores(states: States) -> Values:
            ratios = offline_ratios(bank.unlearned, states, self.offline_a)
            return relative_likelihood(ratios, unseen, self.gamma)

        return Attack(members, scores)


def _all_out(bank: MaskedBank) -> States:
    """The states of unseen samples."""
    return np.full(bank.unlearned_unseen.shape, OUT, np.uint8)


def _require_probabilities(bank: MaskedBank) -> None:
    if not bank.confidence:
        raise DataError(
            "rmia",
            "compares probabilities of the true class, which do not follow from this signal",
            "leave it out, or score the confidence of a classifier or of a probe",
        )
    if bank.unlearned_unseen.shape[1] == 0:
        raise DataError("rmia with 0 unseen samples", "compares with these", "pass test samples")
