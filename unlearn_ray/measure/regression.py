"""Softmax regression on fixed features: the loop of a linear probe, without autograd.

A probe takes thousands of tiny updates, whose cost is that of launching them. Their gradient is
known in closed form, so each is eleven operations: no graph, no generator and no look at its loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.optim.sgd import sgd

from unlearn_ray.core.errors import NonFiniteLoss
from unlearn_ray.core.recipe import Recipe
from unlearn_ray.core.transfer import to_device
from unlearn_ray.train.checkpoint_clock import CheckpointClock
from unlearn_ray.train.compute import Compute, Stopwatch
from unlearn_ray.train.loop import PROGRESS_SECONDS, Progress, check_weights, seeded

aten = torch.ops.aten
_MEAN, _NONE_IGNORED = 1, -100  # arguments of aten's negative log-likelihood
_REMEDY = "lower the learning rate of the probe"


@torch.no_grad()
def regress(
    linear: nn.Linear,
    recipe: Recipe,
    features: Float[Tensor, "copies n d"],
    labels: Int[Tensor, " n"],
    *,
    seed: int,
    compute: Compute,
    on_progress: Callable[[Progress], bool] | None = None,
) -> None:
    """Minimise a linear layer's cross-entropy by SGD, in place.

    Batches, learning rates and, operation by operation, the numbers are those of `optimise`: on a
    CPU the weights are equal bit for bit.

    Args:
        linear: with a bias, on the device.
        recipe: its optimizer is SGD.
        features: of the samples, on the device; epoch e sees copy e modulo their number.
        labels: of the samples, on the device.
        seed: of the order.
        compute: the device.
        on_progress: called about every second and at the end; an exception stops the run.

    Raises:
        NonFiniteLoss: the loss or a weight became NaN or infinite.
    """
    run = _Run(linear, recipe, features, labels, compute)
    clock = CheckpointClock(0, math.inf, PROGRESS_SECONDS)
    for epoch in range(recipe.epochs):
        run.show(epoch, torch.randperm(labels.shape[0], generator=seeded("order", seed, epoch)))
        with run.stopwatch.running():
            for batch in range(run.layout.batches):
                run.update(batch)
                if clock.after(run.done)[1] and on_progress is not None:
                    on_progress(run.progress())
        run.check_loss()
    if on_progress is not None:
        on_progress(run.progress())
    check_weights(linear, f"weights of a probe after {run.done} iterations", _REMEDY)


class _Run:
    """The state of one call of `regress`."""

    def __init__(
        self,
        linear: nn.Linear,
        recipe: Recipe,
        features: Tensor,
        labels: Tensor,
        compute: Compute,
    ) -> None:
        self.recipe = recipe
        self.layout = recipe.layout(labels.shape[0])
        self.total = recipe.epochs * self.layout.batches
        self.done = 0
        self.rate = 0.0
        self.features, self.labels = features, labels
        self.shown, self.rows, self.truth = features[:0], labels[:0], labels[:0]
        self.weight, self.bias = linear.weight.detach(), linear.bias.detach()
        both = (self.weight, self.bias)
        self.gradients = [torch.zeros_like(each) for each in both]
        self.velocities: list[Tensor | None] = [torch.zeros_like(each) for each in both]
        self.one, self.loss = features.new_ones(()), features.new_full((), math.nan)
        # An infinite or undefined loss stays in the sum, which is read once per epoch.
        self.losses = features.new_zeros((), dtype=torch.float64)
        self.stopwatch = Stopwatch(compute)

    def show(self, epoch: int, order: Int[Tensor, " n"]) -> None:
        """Begin an epoch with its order of the samples."""
        self.rate = self.recipe.learning_rate_at(epoch)
        self.shown = self.features[epoch % len(self.features)]
        self.rows = to_device(order, self.labels.device)
        self.truth = self.labels[self.rows]

    def update(self, batch: int) -> None:
        """One update, by the kernels that autograd calls, in its order."""
        of_batch = self.layout.rows(batch)
        inputs = self.shown.index_select(0, self.rows[of_batch])
        truth = self.truth[of_batch]
        log_shares = torch.addmm(self.bias, inputs, self.weight.t()).log_softmax(dim=1)
        loss = (log_shares, truth, None, _MEAN, _NONE_IGNORED)
        self.loss, count = aten.nll_loss_forward(*loss)
        self.losses += self.loss
        errors = aten.nll_loss_backward(self.one, *loss, count)
        errors = aten._log_softmax_backward_data(errors, log_shares, 1, errors.dtype)
        torch.mm(errors.t(), inputs, out=self.gradients[0])
        torch.sum(errors, dim=0, out=self.gradients[1])
        sgd(
            [self.weight, self.bias], self.gradients, self.velocities, fused=True,
            weight_decay=self.recipe.weight_decay, momentum=self.recipe.momentum, lr=self.rate,
            dampening=0.0, nesterov=False, maximize=False,
        )  # fmt: skip
        self.done += 1

    def check_loss(self) -> None:
        """Read the losses so far, which synchronises with the device."""
        if not bool(self.losses.isfinite()):
            raise NonFiniteLoss(
                f"loss of a probe within the first {self.done} of {self.total} iterations",
                "became NaN or infinite",
                _REMEDY,
            )

    def progress(self) -> Progress:
        epoch = min(self.done // max(self.layout.batches, 1) + 1, self.recipe.epochs)
        seconds = self.stopwatch.total()
        return Progress(self.done, self.total, float(self.loss), seconds, epoch, self.recipe.epochs)
