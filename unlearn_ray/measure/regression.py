"""Softmax regression on fixed features: the loop of a linear probe, without autograd.

A probe takes thousands of tiny updates, whose cost is that of launching them. Their gradient is
known in closed form, so each is eleven operations: no autograd, no generator and no look at its
loss. An update that is captured as a CUDA graph finds its batch by itself: an epoch takes nothing
from the host but its order and its learning rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.optim.sgd import sgd

from unlearn_ray.core.errors import NonFiniteLoss
from unlearn_ray.core.recipe import Recipe
from unlearn_ray.core.transfer import to_device
from unlearn_ray.train import step_graph
from unlearn_ray.train.checkpoint_clock import CheckpointClock
from unlearn_ray.train.compute import Compute, Stopwatch
from unlearn_ray.train.loop import PROGRESS_SECONDS, Progress, check_weights, seeded
from unlearn_ray.train.step_graph import DeviceGraph

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
        self.graph: DeviceGraph | None = None
        self.rate: float | Tensor = 0.0
        if compute.graphs and self.total >= step_graph.CAPTURE_FROM_ITERATIONS:
            self.graph, self.rate = DeviceGraph(), features.new_zeros(())
        self.copies, self.features = len(features), features.flatten(0, 1)
        # Of the epoch: each sample's row of the features, and its label; and the next batch's.
        self.labels, self.truth = labels, torch.empty_like(labels)
        self.rows = torch.empty_like(labels, dtype=torch.int64)
        self.places = torch.arange(self.layout.batch, device=labels.device)
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
        rate = self.recipe.learning_rate_at(epoch)
        self.rate = self.rate.fill_(rate) if isinstance(self.rate, Tensor) else rate
        self.rows.copy_(to_device(order, self.labels.device))
        self.truth.copy_(self.labels[self.rows])
        self.rows += epoch % self.copies * len(self.labels)
        torch.arange(self.layout.batch, out=self.places)

    def update(self, batch: int) -> None:
        """One update."""
        of_batch = self.layout.rows(batch)
        if self.graph is None or of_batch.stop - of_batch.start != self.layout.batch:
            self._descend(self.rows[of_batch], self.truth[of_batch])
        else:
            self.graph.run(self._next)
        self.done += 1

    def _next(self) -> None:
        """An update on the next batch, which the device finds."""
        rows, truth = (each.index_select(0, self.places) for each in (self.rows, self.truth))
        self._descend(rows, truth)
        self.places += self.layout.batch

    def _descend(self, rows: Int[Tensor, " batch"], truth: Int[Tensor, " batch"]) -> None:
        """An update on a batch, by the kernels that autograd calls, in its order."""
        inputs = self.features.index_select(0, rows)
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
            weight_decay=self.recipe.weight_decay, momentum=self.recipe.momentum,
            lr=cast(float, self.rate),  # or a tensor, as in its optimizer
            dampening=0.0, nesterov=False, maximize=False,
        )  # fmt: skip

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
