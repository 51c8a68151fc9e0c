"""Relearning: how the loss on a set falls while a model is fine-tuned on it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor, nn
from torch.nn import functional

from unlearn_ray.core.capture import refuse
from unlearn_ray.core.recipe import Player, Recipe
from unlearn_ray.core.transfer import to_device
from unlearn_ray.measure.features import BLOCK, finite, frozen, in_whole
from unlearn_ray.train.compute import Compute
from unlearn_ray.train.loop import Iteration, Progress, Training, optimise
from unlearn_ray.train.sparsity import keeper


def relearn(
    module: nn.Module,
    inputs: Callable[[Int[Tensor, " n"]], Float[Tensor, "n 3 height width"]],
    labels: Int[Tensor, " all"],
    recipe: Recipe,
    *,
    updates: int,
    limit: int,
    seed: int,
    compute: Compute,
    on_progress: Callable[[Progress], bool] | None = None,
) -> Float64[Tensor, " updates_and_one"]:
    """Cross-entropy on the first `limit` samples, before the first update and after each.

    The module is in eval mode throughout: batch norm keeps its statistics, so that the loss depends
    on what the weights learn alone, and a set may have a single sample.

    Args:
        module: maps network input to logits, on the device; fine-tuned in place. Pruned weights
            stay zero.
        inputs: network input of given samples of the set.
        labels: of the set, on the device.
        recipe: of the updates.
        updates: their number.
        limit: at most this many samples are evaluated.
        seed: of the order of the samples.
        compute: the device.
        on_progress: see `optimise`.

    Raises:
        NonFiniteLoss: the loss or a weight became NaN or infinite.
    """
    module.eval()
    keep = keeper(module)
    evaluated = torch.arange(min(limit, labels.shape[0]), device=labels.device)
    seen: list[Tensor] = []

    def evaluate() -> None:
        refuse("keeps the outputs after its update")
        if keep is not None:
            keep()
        with frozen(module):
            blocks = [
                in_whole(inputs(rows), module).float() for rows in torch.split(evaluated, BLOCK)
            ]
        # Read once the last update is launched: reading each would synchronise with a GPU.
        seen.append(torch.cat(blocks))

    def loss(iteration: Iteration) -> Tensor:
        rows = to_device(iteration.rows, labels.device)
        logits = module(inputs(rows))
        with torch.autocast(labels.device.type, enabled=False):
            return functional.cross_entropy(logits.float(), labels[rows])

    evaluate()
    training = Training(
        (Player(module, recipe, loss),),
        labels.shape[0],
        seed,
        iterations=updates,
        after_update=evaluate,
    )
    optimise(training, compute, on_progress=on_progress)
    outputs = finite(torch.stack(seen).cpu(), f"{evaluated.shape[0]} images").double()
    truth = labels[evaluated].cpu()
    return torch.stack([functional.cross_entropy(logits, truth) for logits in outputs])
