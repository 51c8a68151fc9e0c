"""RULI: density ratios of unlearned samples, against retraining and against samples never seen."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

import numpy as np

from unlearn_ray.core.errors import DataError
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.evidence.kernel_density import density_ratio
from unlearn_ray.evidence.masks import FORGET
from unlearn_ray.scores.attacks import Attack, MaskedAttack, attack_columns
from unlearn_ray.scores.base import MaskedBank


@register("ruli")
@schema
class Ruli(MaskedAttack):
    """RULI's efficacy and privacy of unlearned models, on forget samples.

    Naderloui et al., "Rectifying Privacy and Efficacy Measurements in Machine Unlearning: A New
    Inference Attack Perspective", USENIX Security 2025. A forget sample on the models that
    unlearned it is told from the same sample

    - efficacy: on original models that were never trained on it, as a retrained model is not;
    - privacy: on unlearned models that were never trained on it.

    Each block of models is scored by densities of all other blocks. RULI chooses half of its
    forget samples among those that LiRA recognises best; here all audited samples count.
    """

    columns: ClassVar[dict[str, str]] = {
        **attack_columns("ruli_efficacy", "RULI efficacy"),
        **attack_columns("ruli_privacy", "RULI privacy"),
    }

    def attacks(self, bank: MaskedBank) -> Mapping[str, Attack]:
        """Efficacy and privacy.

        Raises:
            DataError: the signal is no confidence, whose unit the kernels' bandwidth has.
        """
        if not bank.confidence:
            raise DataError(
                "ruli",
                "its bandwidth is one nat of confidence, which this signal is not",
                "leave it out, or score the confidence of a classifier or of a probe",
            )
        against_retraining = np.where(bank.states == FORGET, bank.unlearned, bank.original)
        members = (FORGET,)
        return {
            "ruli_efficacy": Attack(
                members, partial(density_ratio, against_retraining, members=members)
            ),
            "ruli_privacy": Attack(
                members, partial(density_ratio, bank.unlearned, members=members)
            ),
        }
