"""CODEC and FOCI: select the rows of a network's weights that the loss of a few images depends on.

Azadkia and Chatterjee, "A Simple Measure of Conditional Dependence", Annals of Statistics 2021;
as Mehta et al. use it in "Deep Unlearning via Randomized Conditionally Independent Hessians",
CVPR 2022, where noise on the inputs makes all features continuous.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from unlearn_ray.methods.shared import flattened

Layer = nn.Conv2d | nn.Linear


def dependences(
    outcome: Float[Tensor, " n"],
    features: Float[Tensor, "n p"],
    given: Float[Tensor, "n n"] | None = None,
) -> Float[Tensor, " p"]:
    """T(outcome, feature | given) of each feature: 0 if independent, 1 if a function, for large n.

    With R_i the rank of outcome i (1 the least), L_i = n + 1 - R_i, and M(i) and N(i) the
    observations nearest to i in feature and given, and in given alone, it is

        sum_i (min(R_i, R_M(i)) - min(R_i, R_N(i))) / sum_i (R_i - min(R_i, R_N(i))),

    and without given

        sum_i (n min(R_i, R_M(i)) - L_i^2) / sum_i L_i (n - L_i).

    Args:
        outcome: one number for each of n > 1 observations, all distinct.
        features: p numbers for each.
        given: the sum of `distances` of the features that are conditioned on.
    """
    count = len(outcome)
    rank = outcome.argsort().argsort() + 1

    def with_nearest(apart: Tensor) -> Tensor:
        return torch.minimum(rank, rank[apart.argmin(dim=1)])

    if given is None:
        above = count + 1 - rank
        nearest = torch.stack([with_nearest(distances(feature)) for feature in features.T])
        return (count * nearest - above**2).sum(dim=1) / (above * (count - above)).sum()
    nearest = torch.stack([with_nearest(given + distances(feature)) for feature in features.T])
    alone = with_nearest(given)
    return (nearest - alone).sum(dim=1) / (rank - alone).sum()


def distances(feature: Float[Tensor, " n"]) -> Float[Tensor, "n n"]:
    """Squared distances between observations, infinite on the diagonal."""
    return (feature[:, None] - feature[None, :]).square().fill_diagonal_(torch.inf)


def foci(outcome: Float[Tensor, " n"], features: Float[Tensor, "n p"], limit: int) -> list[int]:
    """The features that an outcome depends on, most informative first; at least one.

    Forward selection: each step adds the feature on which the outcome depends most given those
    already selected, until it depends on none.

    Args:
        outcome: of n observations.
        features: of the same observations.
        limit: maximum number of features.
    """
    chosen: list[int] = []
    given: Tensor | None = None
    left = list(range(features.shape[1]))
    while left and len(chosen) < limit:
        found = dependences(outcome, features[:, left], given)
        best = int(found.argmax())
        if chosen and found[best] <= 0:
            break
        chosen.append(left.pop(best))
        apart = distances(features[:, chosen[-1]])
        given = apart if given is None else given + apart
    return chosen


class Rows:
    """Some rows of the weights of convolutions and linear layers, with their biases.

    Args:
        layers: their rows are numbered consecutively.
        chosen: numbers of the rows.

    Attributes:
        parameters: those that have a chosen row.
    """

    def __init__(self, layers: Sequence[Layer], chosen: Sequence[int]) -> None:
        owners = [(layer, row) for layer in layers for row in range(layer.weight.shape[0])]
        marked: dict[nn.Parameter, Tensor] = {}
        for layer, row in (owners[number] for number in chosen):
            for parameter in layer.parameters(recurse=False):
                none = torch.zeros_like(parameter, dtype=torch.bool)
                marked.setdefault(parameter, none)[row] = True
        self.parameters = list(marked)
        self._where: Int[Tensor, " rows"] = flattened(marked.values()).nonzero()[:, 0]

    def of(self, vector: Float[Tensor, " d"]) -> Float[Tensor, " rows"]:
        """The entries of chosen rows, out of a vector over all `parameters`."""
        return vector[self._where]

    def values(self) -> Float[Tensor, " rows"]:
        """The weights of the rows."""
        return self.of(flattened(self.parameters)).detach()

    @torch.no_grad()
    def put(self, values: Float[Tensor, " rows"]) -> None:
        """Set the weights of the rows."""
        whole = flattened(self.parameters)
        whole[self._where] = values
        pieces = torch.split(whole, [parameter.numel() for parameter in self.parameters])
        for parameter, piece in zip(self.parameters, pieces, strict=True):
            parameter.copy_(piece.reshape(parameter.shape))


@torch.no_grad()
def observed(
    model: nn.Module, copies: Iterable[Float[Tensor, "n 3 height width"]], labels: Int[Tensor, " n"]
) -> tuple[list[Layer], Float[Tensor, "copies rows"], Float[Tensor, " copies"]]:
    """Run a network on copies of a few images.

    Args:
        model: in eval mode.
        copies: of all the images, one copy after the other.
        labels: of the images.

    Returns:
        The convolutions and linear layers that were called; for every copy, the activation of
        each of their rows, averaged over images and positions, and the mean cross-entropy.
    """
    called: dict[Layer, Tensor] = {}

    def keep(layer: nn.Module, _: object, output: Tensor) -> None:
        assert isinstance(layer, Layer)
        channel = 1 if isinstance(layer, nn.Conv2d) else -1
        called[layer] = output.movedim(channel, 0).flatten(1).mean(dim=1)

    layers = [module for module in model.modules() if isinstance(module, Layer)]
    hooks = [layer.register_forward_hook(keep) for layer in layers]
    activations, losses = [], []
    for images in copies:
        losses.append(functional.cross_entropy(model(images), labels))
        activations.append(torch.cat(list(called.values())))
    for hook in hooks:
        hook.remove()
    return list(called), torch.stack(activations), torch.stack(losses)
