"""An attacker that learns to recognise training members from a classifier's outputs.

Sharma et al., "Discriminative Adversarial Unlearning", 2024 (arXiv 2402.06864).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from unlearn_ray.families.similarity import full_precision
from unlearn_ray.methods.shared import seeded_globally

WIDTH, HEADS, HIDDEN, LAYERS, DROPOUT = 64, 4, 128, 3, 0.2


class Attacker(nn.Module):
    """Logits of (no member, member) from a token per class: (logit, is the label, sensitivity).

    Batch norm over all 3 C numbers; then, per token, a linear layer, GELU and a transformer; then
    two linear layers over all tokens, the only ones that know which class a token belongs to.

    Args:
        classes: C.

    Attributes:
        seen: the input of its last update, if the model's update reuses it.
    """

    seen: Pair | None = None

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3 * classes)
        self.embed = nn.Linear(3, WIDTH)
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, HIDDEN, DROPOUT, activation="gelu", batch_first=True
        )
        self.layers = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(WIDTH * classes, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 2)
        )

    def forward(self, shown: Float[Tensor, "n 3 classes"]) -> Float[Tensor, "n 2"]:
        """Logits of every image."""
        tokens = self.norm(shown.flatten(1)).view_as(shown).transpose(1, 2)
        return cast(Tensor, self.head(self.layers(functional.gelu(self.embed(tokens)))))


@dataclass(frozen=True)
class Observed:
    """A classifier's outputs for some images, one row each.

    Attributes:
        logits: (n, C).
        sensitivity: how much a logit changes when the image is perturbed, (n, C).
        features: input of the classifier's last layer, (n, d).
        labels: (n,).
    """

    logits: Float[Tensor, "n classes"]
    sensitivity: Float[Tensor, "n classes"]
    features: Float[Tensor, "n d"]
    labels: Int[Tensor, " n"]

    @property
    def shown(self) -> Float[Tensor, "n 3 classes"]:
        """The attacker's tokens."""
        is_label = functional.one_hot(self.labels, self.logits.shape[1]).to(self.logits.dtype)
        return torch.stack([self.logits, is_label, self.sensitivity], dim=1)


Pair = tuple[Observed, Observed]


def membership_loss(
    attacker: nn.Module, seen: Pair, generator: torch.Generator, *, swapped: bool = False
) -> Float[Tensor, ""]:
    """The attacker's mean cross-entropy, with gradients for the attacker only; or swapped.

    Args:
        attacker: an `Attacker`.
        seen: its inputs for members and non-members.
        generator: of its dropout, on the CPU; the same on every worker.
        swapped: swap the labels, with gradients for the model that produced the inputs.
    """
    shown = torch.cat([each.shown for each in seen])
    if not swapped:
        shown = shown.detach()
    is_member = torch.arange(len(shown), device=shown.device) < len(seen[0].labels)
    with seeded_globally(generator, shown.device), full_precision(shown):
        return functional.cross_entropy(attacker(shown), (is_member ^ swapped).long())
