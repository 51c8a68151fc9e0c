"""Alignment Calibration: unlearning for contrastive models that the data owner can see.

"MUC: Machine Unlearning for Contrastive Learning with Black-box Evaluation", equation 5. Views
of one forget image are pushed apart (reversing training), different forget images are pulled
together (visible in the alignment matrix), and the log-sum-exp keeps the representation uniform.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from unlearn_ray.core.batch import Batch
from unlearn_ray.core.ranges import Grid, Ranges, log_uniform, uniform
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import NonNegativeFloat, schema
from unlearn_ray.data.base import ForgetSet
from unlearn_ray.families.base import ContrastiveFamily, Family, InfoNCE
from unlearn_ray.methods.base import Task, TrainingMethod


@register("alignment_calibration")
@schema
class AlignmentCalibration(TrainingMethod):
    """L = L_retain + epsilon * L_unlearn (MUC, equation 5).

    L_retain is the mean InfoNCE of retain anchors, and with means over the forget set

        L_unlearn = -alpha * E[s(negative)] + beta * E[s(positive)] + gamma * E[log-sum-exp],

    where negatives are pairs of different forget images of a batch. A mean over nothing (no
    forget image, or no pair) is zero.

    Paper and code:

    - Temperature. The paper's s is the cosine over the temperature T in every term: the default.
      Its code uses the plain cosine in the beta term (`positive_similarity="cosine"`), so a beta
      of the code is beta * T here. The recommended range of beta is for MoCo's T of 0.1.
    - Normalisation. The code takes one mean over a mixed batch, the paper a mean over each set;
      in expectation the code's loss is |D_retain| / |D| times this one, so at equal learning
      rates this one takes larger steps (10/9 at 10 % forgetting).
    - Negatives. For each forget anchor the code replaces the positive by one random forget image,
      also inside the log-sum-exp; here all pairs of the batch are averaged.
    - Views. The code takes a third view for the beta term; here two views serve every term.

    CLIP. Pairs are an image and a caption, in both directions.

    - For which similarity MUC searched beta (`muc_clip`), no code says.
    - A constant c added to every similarity (the modality gap) does not change InfoNCE, but
      changes this loss by epsilon * (beta + gamma - alpha) * c: with alpha = gamma, beta also
      lowers retain pairs. A beta of at most T, which is 1 for the cosine, keeps that small; or
      set gamma to alpha - beta.

    Attributes:
        alpha: weight of the negative alignment.
        beta: weight of the positive alignment; MUC tunes it.
        gamma: weight of the log-sum-exp; null is alpha, as in MUC.
        epsilon: weight of the forget set; null is |D_forget| / |D_retain|.
        positive_similarity: of the beta term: s ("tempered", the paper) or s * T ("cosine").
    """

    alpha: NonNegativeFloat = 1.0
    beta: NonNegativeFloat = 1.0
    gamma: NonNegativeFloat | None = None
    epsilon: NonNegativeFloat | None = None
    positive_similarity: Literal["tempered", "cosine"] = "tempered"

    recommended: ClassVar[Ranges] = {
        "learning_rate": log_uniform(0.003, 0.03),
        "beta": uniform(0, 2),
    }
    grids: ClassVar[Mapping[str, Grid]] = {
        # Appendix A.2.
        "muc": {
            "epochs": 10,
            "learning_rate": log_uniform(0.003, 0.03),
            "alpha": 1,
            "beta": uniform(0, 20),
            "positive_similarity": "cosine",
        },
        # The same appendix, of CLIP.
        "muc_clip": {
            "optimizer": "adamw",
            "epochs": 8,
            "learning_rate": 2e-4,
            "alpha": uniform(0.5, 1),
            "beta": uniform(0, 1),
            "positive_similarity": "cosine",
        },
    }

    @classmethod
    def unsupported(cls, family: Family, forget_set: ForgetSet) -> str | None:
        """A family without negatives has nothing to calibrate."""
        if isinstance(family, ContrastiveFamily):
            return None
        return f"{cls.name} needs a contrastive family; {family.name} has no negatives"

    def loss(self, model: nn.Module, batch: Batch, task: Task) -> Float[Tensor, ""]:
        """Equation 5 over one mixed batch."""
        assert isinstance(task.family, ContrastiveFamily)
        pieces = task.family.info_nce(model, batch)
        retain = mean_where(~pieces.is_forget, pieces.losses.loss)
        epsilon = self.epsilon
        if epsilon is None:
            epsilon = task.forget_size / task.retain_size
        return retain + epsilon * self._unlearn(pieces)

    def _unlearn(self, pieces: InfoNCE) -> Float[Tensor, ""]:
        forget = pieces.is_forget
        pairs = forget[:, None] & pieces.candidate_is_forget[None, :] & ~pieces.same_image
        gamma = self.alpha if self.gamma is None else self.gamma
        scale = 1.0 if self.positive_similarity == "tempered" else pieces.temperature
        return (
            -self.alpha * mean_where(pairs, pieces.similarities)
            + self.beta * scale * mean_where(forget, pieces.positive)
            + gamma * mean_where(forget, pieces.log_sum_exp)
        )


def mean_where(mask: Bool[Tensor, "*shape"], values: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """Mean of the values under the mask; zero, with zero gradient, if there are none.

    Branch-free: it never synchronises with the device to count forget images.
    """
    return torch.where(mask, values, 0).sum() / mask.sum().clamp(min=1)
