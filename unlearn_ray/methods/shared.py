"""Helpers of several methods: frozen copies, divergences, gradients, one-shot edits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from unlearn_ray.core.capture import refuse
from unlearn_ray.core.modes import in_eval_mode
from unlearn_ray.core.schema import PositiveInt, schema
from unlearn_ray.core.transfer import to_device
from unlearn_ray.families.base import Scores
from unlearn_ray.families.momentum import slow_copy
from unlearn_ray.methods.base import ClassifierMethod, PartName, Samples

Blocks = Iterable[tuple[Tensor, Tensor]]


@schema
class OneShot(ClassifierMethod):
    """A method without iterations: a single edit of a classifier's weights, in `finish`.

    Attributes:
        batch_size: images per forward and backward pass.
    """

    batch_size: PositiveInt = 256


@contextmanager
def plain_attention() -> Iterator[None]:
    """Unfused attention: fused kernels lack double backward, vmap and forward-mode derivatives."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def drawn_seed(generator: torch.Generator) -> int:
    """A seed for a generator on another device or for torch's global ones."""
    refuse("seeds generators of the device")
    return int(torch.randint(2**62, (), generator=generator))


@contextmanager
def seeded_globally(generator: torch.Generator, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators from `generator`, and restore them afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(drawn_seed(generator))
        yield


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Disable compilation and fused attention, neither of which supports double backward."""
    with plain_attention(), torch.compiler.set_stance("force_eager"):
        yield


def frozen_copy(model: nn.Module) -> nn.Module:
    """A copy in eval mode that is never trained."""
    return slow_copy(model).eval()


def trained(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """The parameters that are optimised, with their names."""
    return [(name, each) for name, each in model.named_parameters() if each.requires_grad]


def divergence(
    teacher: Float[Tensor, "n classes"],
    student: Float[Tensor, "n classes"],
    temperature: float = 1.0,
) -> Float[Tensor, ""]:
    """KL(teacher || student) at a temperature: the sum over classes, the mean over rows.

    With gradients for the student. Hinton et al.'s factor T^2 is left to the caller.
    """
    return functional.kl_div(
        (student / temperature).log_softmax(dim=1),
        (teacher / temperature).log_softmax(dim=1),
        reduction="batchmean",
        log_target=True,
    )


@torch.no_grad()
def accuracy(
    model: nn.Module,
    samples: Samples,
    part: PartName,
    classes: tuple[int, ...] = (),
    scores: Scores | None = None,
) -> float | None:
    """Share of a part's samples, in [0, 1], whose class the model predicts; in eval mode.

    Args:
        model: a classifier, unless `scores` is given; its training flag does not change.
        samples: of the task.
        part: the set.
        classes: count only samples of these; empty counts all.
        scores: scores classes by the model (`ClassFamily.class_scores`).

    Returns:
        None if there is no sample to count.
    """
    counts = []
    with in_eval_mode(model):
        for images, labels in samples.blocks(part):
            mask = torch.ones_like(labels, dtype=torch.bool)
            if classes:
                mask = torch.isin(labels, to_device(torch.tensor(classes), labels.device))
            predicted = (scores or model)(images).argmax(dim=1)
            counts.append(torch.stack([((predicted == labels) & mask).sum(), mask.sum()]))
    if not counts:
        return None
    right, counted = map(int, torch.stack(counts).sum(dim=0).tolist())
    return right / counted if counted else None


def summed_gradients(model: nn.Module, blocks: Blocks, *, power: int = 1) -> dict[str, Tensor]:
    """Sum over blocks of (gradient of a block's mean cross-entropy) ** power, in eval mode.

    Args:
        model: a classifier; its .grad fields are not touched.
        blocks: images and classes; blocks of one sample give per-sample gradients.
        power: 1, or 2 for squared gradients.

    Returns:
        The sums by parameter name.
    """
    parameters = dict(trained(model))
    sums = {name: torch.zeros_like(value) for name, value in parameters.items()}
    with in_eval_mode(model):
        for images, labels in blocks:
            loss = functional.cross_entropy(model(images), labels)
            found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
            for name, gradient in zip(parameters, found, strict=True):
                if gradient is not None:
                    sums[name] += gradient**power
    return sums


def flattened(tensors: Iterable[Tensor]) -> Float[Tensor, " d"]:
    """All entries in one vector, whatever the memory layout."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


@torch.no_grad()
def add_flattened(parameters: Sequence[Tensor], vector: Float[Tensor, " d"]) -> None:
    """Add a vector, laid out as by `flattened`, to parameters in place."""
    pieces = torch.split(vector, [parameter.numel() for parameter in parameters])
    for parameter, piece in zip(parameters, pieces, strict=True):
        parameter += piece.reshape(parameter.shape)


def total_gradient(
    model: nn.Module, blocks: Blocks, parameters: Sequence[nn.Parameter]
) -> Float[Tensor, " d"]:
    """Flattened gradient of the summed cross-entropy of all samples; in the current mode."""
    total = torch.zeros_like(flattened(parameters))
    for images, labels in blocks:
        loss = functional.cross_entropy(model(images), labels, reduction="sum")
        total += flattened(torch.autograd.grad(loss, parameters, materialize_grads=True))
    return total


@torch.no_grad()
def conjugate_gradients(
    product: Callable[[Float[Tensor, " d"]], Float[Tensor, " d"]],
    vector: Float[Tensor, " d"],
    *,
    iterations: int,
    tolerance: float = 1e-6,
) -> Float[Tensor, " d"]:
    """Solve A x = vector for a symmetric A, given by matrix-vector products.

    If A turns out not to be positive definite, it returns the iterate so far, as truncated Newton
    methods do (Nocedal and Wright, "Numerical Optimization", algorithm 7.1).

    Args:
        product: of A with a vector.
        vector: the right-hand side.
        iterations: maximum number of products.
        tolerance: of the residual's norm, relative to the vector's.
    """
    solution, residual, direction = torch.zeros_like(vector), vector.clone(), vector.clone()
    squared = residual @ residual
    enough = tolerance**2 * squared
    for _ in range(iterations):
        image = product(direction)
        curvature = direction @ image
        if squared <= enough or curvature <= 0:
            break
        solution += squared / curvature * direction
        residual -= squared / curvature * image
        previous, squared = squared, residual @ residual
        direction = residual + squared / previous * direction
    return solution
