"""A classifier's outputs as an attacker sees them, with gradients; and the Barlow Twins loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from unlearn_ray.core.batch import Batch
from unlearn_ray.core.collective import gather_rows, own_rows, sharing
from unlearn_ray.core.modes import in_eval_mode
from unlearn_ray.core.transfer import to_device
from unlearn_ray.families.base import ClassifierFamily
from unlearn_ray.families.similarity import full_precision, precise
from unlearn_ray.methods.attacker import Observed, Pair
from unlearn_ray.methods.shared import drawn_seed


def observe(
    model: nn.Module,
    family: ClassifierFamily,
    sets: Sequence[Batch],
    generator: torch.Generator,
    *,
    draws: int,
    scale: float,
    through: bool,
) -> Pair:
    """Observe two batches, cut to the size of the smaller; the same rows on every worker.

    At least in float32: bf16 rounds a logit by more than the noise changes it.

    A noisy copy's forward pass is repeated when its gradient is computed, rather than kept until
    then: with 10 draws, what an update keeps is 11 times smaller.

    Args:
        model: a classifier; its mode and its running statistics do not change.
        family: of the model.
        sets: two batches of one view, each a separate forward pass.
        generator: of the noise, on the CPU; the same on every worker.
        draws, scale: sensitivity is the mean of |f(x + scale * N) - f(x)| / scale over `draws`
            draws of N from N(0, 1), with pixels x in [0, 1].
        through: whether gradients flow through the sensitivity.
    """
    count = min(batch.size for batch in sets)
    own = own_rows(count)
    noise = torch.Generator(sets[0].labels.device).manual_seed(drawn_seed(generator))

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _again(model, count, sets[0].labels)

    def noisy(images: Tensor) -> Tensor:
        logits: Tensor = checkpoint(
            model, images, use_reentrant=False, preserve_rng_state=False, context_fn=contexts
        )
        return logits

    def observed(batch: Batch) -> Observed:
        with full_precision(batch.labels):
            images = batch.views[0][own]
        deviation = torch.tensor(family.augmentation.std, dtype=images.dtype)
        step = to_device(scale / deviation[:, None, None], images.device)
        shape = (count, *images.shape[1:])
        with by_batch_statistics(model), sharing(count), full_precision(images):
            features = family.represent(model, images)
            logits = family.classify(model, features)
            changes = torch.zeros_like(logits)
            with torch.set_grad_enabled(through and torch.is_grad_enabled()):
                for _ in range(draws):
                    drawn = torch.randn(shape, generator=noise, device=images.device)[own]
                    changes = changes + (noisy(images + step * drawn) - logits).abs()
                changes = changes / (draws * scale)
            rows = gather_rows(precise(torch.cat([logits, changes, features], dim=1)), count)
        classes = logits.shape[1]
        return Observed(
            logits=rows[:, :classes],
            sensitivity=rows[:, classes : 2 * classes],
            features=rows[:, 2 * classes :],
            labels=batch.labels[:count],
        )

    first, second = sets
    return observed(first), observed(second)


@contextmanager
def by_batch_statistics(model: nn.Module) -> Iterator[None]:
    """Eval mode, except that batch norm uses batch statistics, without updating running ones."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    before = [(norm.training, norm.momentum) for norm in norms]
    with in_eval_mode(model):
        for norm in norms:
            norm.training, norm.momentum = True, 0.0
        try:
            yield
        finally:
            for norm, (training, momentum) in zip(norms, before, strict=True):
                norm.training, norm.momentum = training, momentum


@contextmanager
def _again(model: nn.Module, count: int, like: Tensor) -> Iterator[None]:
    """A forward pass of `observe`, repeated after it: it counts no batch that was counted then."""
    norms = [
        (module, module.num_batches_tracked)
        for module in model.modules()
        if isinstance(module, _BatchNorm) and module.num_batches_tracked is not None
    ]
    with by_batch_statistics(model), sharing(count), full_precision(like):
        for norm, batches in norms:
            norm.num_batches_tracked = torch.zeros_like(batches)
        try:
            yield
        finally:
            for norm, batches in norms:
                norm.num_batches_tracked = batches


def barlow_twins(
    first: Float[Tensor, "n d"], second: Float[Tensor, "n d"], off_diagonal: float
) -> Float[Tensor, ""]:
    """sum_i (1 - c_ii)^2 + off_diagonal * sum_{i != j} c_ij^2, c the columns' correlations.

    Zbontar et al., "Barlow Twins", ICML 2021. Correlations of a constant column are 0.
    """
    with full_precision(first):
        correlations = _standardised(first).T @ _standardised(second) / len(first)
        diagonal = correlations.diagonal()
        others = correlations.square().sum() - diagonal.square().sum()
        return (1 - diagonal).square().sum() + off_diagonal * others


def _standardised(features: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    variance, mean = torch.var_mean(features, dim=0, correction=0)
    return (features - mean) * (variance + 1e-5).rsqrt()
