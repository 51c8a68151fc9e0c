"""Contrastive unlearning: embeddings of forget images leave their own class for the others.

"Contrastive Unlearning: A Contrastive Approach to Machine Unlearning" (2401.10458), section 4 and
appendices B to D; with a momentum queue, appendix D.7.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from unlearn_ray.core.batch import Batch
from unlearn_ray.core.collective import gather_rows
from unlearn_ray.core.ranges import Grid, Ranges, grid, integer, log_uniform
from unlearn_ray.core.recipe import LastBatch
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    UnitInterval,
    schema,
)
from unlearn_ray.data.base import ForgetSet
from unlearn_ray.families.base import ClassFamily, ClassifierFamily, Family
from unlearn_ray.families.similarity import full_precision, precise, unit_rows
from unlearn_ray.methods.base import OwnBatches, Phase, Task, TrainingMethod, TrainsOn, class_family
from unlearn_ray.methods.contrast import RetainQueue, is_forgotten, push_and_pull


@register("contrastive_unlearning")
@schema
class ContrastiveUnlearning(TrainingMethod):
    """L = lambda_ul * L_UL + lambda_ce * cross-entropy of a retain batch (equation 7).

    Each batch of B forget images (anchors) meets omega retain batches in turn. An anchor i has
    positives P, the retain embeddings of its class, and negatives N, all others. With s the cosine
    over the temperature, L_UL is the mean over anchors of

        log sum_P exp s(i, p) - mean_N s(i, a)              equation 5
        log |N|               - mean_N s(i, a)              equation 6, where P is empty
        log sum_P exp s(i, p) - log sum_N exp s(i, a)       equation 11, "queue"

    A forgotten class has no positives, so class unlearning is equation 6 throughout; in sample
    unlearning an anchor whose class the retain batch lacks keeps the pull of equation 5, and so
    does "queue". Without negatives, only the push is left.

    "queue" contrasts with the latest retain embeddings of a momentum encoder. Where the paper is
    silent: the queue is initially filled from the retain set, the encoder is in eval mode with the
    model's running statistics, and a retain batch is enqueued before it is used.

    Early stopping, after an epoch: in class unlearning, if the accuracy on forgotten classes is at
    most 1 / C (equation 8; on validation samples, or the forget set if validation has none); in
    sample unlearning, if forget accuracy is at most validation accuracy (equation 9; without a
    validation set, all epochs are run).

    Paper and code. The paper sums over anchors; here, as in the code, it is the mean, for which
    the official values hold (a sum's lambda_ul is B times smaller), and both batches are one
    forward pass. Not adopted here, the code

    - weighs the push by B / |N|, not 1;
    - is infinite if a random forget image has no positive;
    - takes 1 for |N| in equation 6 (the same gradient);
    - uses the same omega retain batches at every step;
    - never passes its weight decay to the optimizer;
    - fills its queue with the model's own embeddings, for a plain InfoNCE per negative.

    CLIP forgets whole classes (appendix D.6, without equations). Here equation 7 applies unchanged
    to the zero-shot classifier: embeddings are of images, logits are scaled cosines with one
    randomly drawn prompt per class, and equation 8 takes the mean embedding of all its prompts.
    The code alternates between an epoch of InfoNCE on retain pairs and one of 0.5 L_UL (omega 3,
    temperature 0.07, exp s for s in the pull), by Adam at learning rate 1e-12, too little to move
    float32 weights. Larger rates draw retain images to the forgotten class's prompts, which no
    retain pair has. The grid `clip` takes "adamw" instead.

    Official values are the defaults; class unlearning takes batches of 64 and one epoch. The
    temperature matters little (table 12).

    Attributes:
        lambda_ul: weight of L_UL.
        lambda_ce: weight of the retain batch's cross-entropy.
        omega: retain batches, and updates, per forget batch.
        temperature: tau, the divisor of the cosine.
        variant: what anchors are contrasted with: the retain "batch", or the "queue".
        queue_size: of "queue"; at most the size of the retain set.
        queue_momentum: of "queue": momentum of the encoder.
    """

    revision: ClassVar[int] = 2
    trains_on: ClassVar[TrainsOn] = "forget"

    epochs: NonNegativeInt = 30
    batch_size: PositiveInt = 128
    learning_rate: PositiveFloat = 1e-3
    last_batch: LastBatch | None = "keep"
    lambda_ul: NonNegativeFloat = 3.0
    lambda_ce: NonNegativeFloat = 1.0
    omega: PositiveInt = 4
    temperature: PositiveFloat = 0.7
    variant: Literal["batch", "queue"] = "batch"
    queue_size: PositiveInt = 2000
    queue_momentum: UnitInterval = 0.99

    recommended: ClassVar[Ranges] = {
        "learning_rate": log_uniform(1e-4, 1e-2),
        "lambda_ul": log_uniform(0.3, 10),
        "omega": integer(1, 4),
    }
    grids: ClassVar[Mapping[str, Grid]] = {
        # Its ablations.
        "paper": {
            "omega": grid(1, 2, 3, 4),
            "temperature": grid(0.007, 0.07, 0.7, 7, 70),
            "batch_size": grid(64, 128, 256),
        },
        # Not the paper's, whose learning rate moves no weight.
        "clip": {"optimizer": "adamw", "learning_rate": log_uniform(1e-5, 1e-3)},
    }

    @classmethod
    def unsupported(cls, family: Family, forget_set: ForgetSet) -> str | None:
        """Refuses families without class logits, and sample unlearning of CLIP."""
        if not isinstance(family, ClassFamily):
            return f"{cls.name} needs a classifier; {family.name} has none"
        if isinstance(family, ClassifierFamily) or forget_set.whole_classes:
            return None
        return f"{cls.name} forgets whole classes of {family.name}; {forget_set.name} does not"

    def own_batches(self) -> OwnBatches:
        """None: a forget batch is joined with a retain batch."""
        return ()

    def prepare(self, model: nn.Module, task: Task) -> nn.Module:
        """The filled queue, if there is one."""
        if self.variant == "batch":
            return nn.Module()
        return RetainQueue(model, task, self.queue_size)

    def phases(self, model: nn.Module, task: Task) -> Sequence[Phase]:
        """One phase: every forget batch omega times, each with another retain batch."""
        queue, follow = task.state, None
        if isinstance(queue, RetainQueue):
            follow = partial(queue.follow, model, self.queue_momentum)
        phase = Phase(
            self.recipe,
            "forget",
            self.loss,
            companions=("retain",),
            joined=True,
            repeats=self.omega,
            after_update=follow,
            until=partial(is_forgotten, model, task),
        )
        return [phase] if self.epochs else []

    def loss(self, model: nn.Module, batch: Batch, task: Task) -> Float[Tensor, ""]:
        """Equation 7 of a forget batch and its companion, a retain batch."""
        (companion,) = batch.companions
        family, both, labels = class_family(task), batch.joined, companion.labels
        represented = gather_rows(family.represent(model, both.view(0)), both.size)
        anchors, retain = represented[: batch.size], represented[batch.size :]
        logits = family.class_logits(model, retain, task.samples.prompts, batch.generator)
        others, classes = unit_rows(retain), labels
        if isinstance(task.state, RetainQueue):
            others, classes = task.state.after(companion, family)
        with full_precision(represented):
            similarities = unit_rows(anchors) @ others.T / self.temperature
            positive = batch.labels[:, None] == classes[None, :]
            unlearning = push_and_pull(positive, similarities, soft=self.variant == "queue")
            kept = functional.cross_entropy(precise(logits), labels)
        return self.lambda_ul * unlearning + self.lambda_ce * kept
