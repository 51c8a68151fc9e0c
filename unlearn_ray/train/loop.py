"""The one training loop: pretraining, retraining, unlearning and probes all run through it.

No random state is carried from one iteration to the next: the order of an epoch depends on
(seed, epoch), and all random draws of an iteration on (seed, iteration). So a run that is resumed
from a checkpoint sees the same batches, and ends with the same weights.

Several workers (`core.collective`) run this loop side by side and take every decision together:
each computes its rows of the same batches, and their weights stay equal bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from unlearn_ray.core.collective import average, gather_objects, on_first, rank, world_size
from unlearn_ray.core.curves import MOST_POINTS, Curve
from unlearn_ray.core.errors import CorruptObject, NonFiniteLoss, StopRequested
from unlearn_ray.core.keys import stable_seed
from unlearn_ray.core.recipe import LastBatch, Layout, Player, Recipe
from unlearn_ray.train import step_graph
from unlearn_ray.train.beside import Beside, Checkpoints
from unlearn_ray.train.checkpoint_clock import CheckpointClock
from unlearn_ray.train.compute import Compute, Stopwatch
from unlearn_ray.train.curves import SUMS, LossSums
from unlearn_ray.train.lars import LARS

PROGRESS_SECONDS = 1.0


@dataclass(frozen=True)
class Iteration:
    """One optimizer update.

    Attributes:
        epoch: 0-based.
        number: 0-based, counted over all epochs.
        rows: positions, among the `count` samples, of this batch: int64 on the CPU, (B,).
        generator: on the CPU, seeded from (seed, number).
        progress: share of the run's iterations done before this one, in [0, 1).
    """

    epoch: int
    number: int
    rows: Tensor
    generator: torch.Generator
    progress: float = 0.0


@dataclass(frozen=True)
class Progress:
    """Progress of a run.

    Attributes:
        iteration, iterations: updates done, and their total.
        loss: of the last update.
        seconds: of optimisation so far, without checkpoints.
        epoch, epochs: the current one, from 1, and their total; 0 if there are none.
        doing: name of the current activity, unless it is the step's own training.
    """

    iteration: int
    iterations: int
    loss: float
    seconds: float
    epoch: int = 0
    epochs: int = 0
    doing: str = ""


@dataclass(frozen=True)
class Report:
    """Summary of a run.

    Attributes:
        iterations: updates, including those before a resumption.
        seconds: of optimisation on this worker (device time on a GPU, CPU time on a CPU),
            without checkpoints and set-up; includes its share of the time before a resumption.
        loss: of the last update; NaN if there was none.
        curves: the loss of each player over the run.
    """

    iterations: int
    seconds: float
    loss: float
    curves: tuple[Curve, ...] = ()


@dataclass(frozen=True)
class Training:
    """What a run of the loop optimises, and on which samples.

    Attributes:
        players: updated one after the other in every iteration. Their modules are on the device,
            and the caller sets their training flags. The recipe of the last one determines batches
            and epochs.
        count: number of samples of an epoch.
        seed: of the order and of all random draws.
        last_batch: what to do with an incomplete last batch, if the recipe leaves it open.
        repeats: number of consecutive updates on the same batch.
        iterations: total number of updates, instead of the recipe's epochs.
        after_update: called after every update, after the optimizers' steps.
        until: early stopping: called after every epoch except the last; true ends the run.
        points: of the loss curves, at most.
        kept: module whose state a checkpoint holds besides the optimizers' states; it contains
            the modules of all players. By default, the last player's module.
    """

    players: Sequence[Player[[Iteration]]]
    count: int
    seed: int
    last_batch: LastBatch = "keep"
    repeats: int = 1
    iterations: int | None = None
    after_update: Callable[[], None] | None = None
    until: Callable[[], bool] | None = None
    points: int = MOST_POINTS
    kept: nn.Module | None = None

    @property
    def layout(self) -> Layout:
        """The batches of an epoch."""
        return self.players[-1].recipe.layout(self.count, self.last_batch)


def seeded(*words: str | int) -> torch.Generator:
    """A CPU generator seeded from words and numbers."""
    return torch.Generator().manual_seed(stable_seed(*words))


def optimise(
    training: Training,
    compute: Compute,
    *,
    checkpoints: Checkpoints | None = None,
    on_progress: Callable[[Progress], bool] | None = None,
    stopwatch: Stopwatch | None = None,
) -> Report:
    """Run the training loop: minimise the players' losses over the epochs of a recipe.

    Args:
        training: players and samples.
        compute: the device.
        checkpoints: where to save and resume; None disables them. Only worker 0 saves and loads.
            One is stored while the run goes on; if that fails, the next save, or the end, raises
            the error.
        on_progress: called on worker 0 about every second and at the end; returns whether to
            save a checkpoint now. An exception stops the run, after a last checkpoint if it is
            StopRequested.
        stopwatch: continues counting; a new one if not given.

    Raises:
        NonFiniteLoss: the loss or a weight became NaN or infinite.
    """
    run = _Run(training, compute, stopwatch or Stopwatch(compute))
    if checkpoints is not None:
        run.resume(checkpoints)
    # Its end waits for the upload of a checkpoint.
    with ThreadPoolExecutor(1, "checkpoints") as thread:
        beside = None if checkpoints is None else Beside(checkpoints, thread)
        try:
            _descend(run, beside, on_progress)
        except StopRequested:
            if beside is not None:
                if run.unsaved:
                    run.save(beside)
                run.finish(beside)
            raise
        run.check_weights()
        if beside is not None:
            if beside.at_end and run.unsaved:
                run.save(beside)
            run.finish(beside)
    return Report(run.done, run.stopwatch.total(), run.last_loss(), run.curves())


def _descend(
    run: _Run,
    checkpoints: Beside | None,
    on_progress: Callable[[Progress], bool] | None,
) -> None:
    save_seconds = math.inf if checkpoints is None else checkpoints.seconds_between
    clock = CheckpointClock(run.done, save_seconds, PROGRESS_SECONDS)
    training = run.training
    while run.done < run.total:
        epoch, position = divmod(run.done, run.per_epoch)
        # At the beginning of an epoch, so that a resumed run stops at the same point.
        if epoch > 0 and position == 0 and run.ends():
            break
        order = torch.randperm(training.count, generator=seeded("order", training.seed, epoch))
        run.set_learning_rates(epoch)
        for number in range(position, min(run.per_epoch, position + run.total - run.done)):
            rows = order[run.layout.rows(number // training.repeats)]
            generator = run.generator(run.done)
            run.update(Iteration(epoch, run.done, rows, generator, run.done / run.total))
            save, tell = clock.after(run.done)
            if tell and on_progress is not None:
                save = run.tell(on_progress) or save
            if save and checkpoints is not None:
                run.save(checkpoints)
                clock.saved()
        run.check_loss()
    if on_progress is not None:
        run.tell(on_progress)


def check_weights(module: nn.Module, subject: str, remedy: str) -> None:
    """Refuse NaN or infinite weights.

    Raises:
        NonFiniteLoss: a weight or buffer is NaN or infinite; the message has both texts.
    """
    finite = [value.isfinite().all() for value in module.state_dict().values()]
    # Read once, since every reading synchronises with a GPU.
    if finite and not bool(torch.stack(finite).all()):
        raise NonFiniteLoss(subject, "hold NaN or infinite values", remedy)


class _Run:
    """The state of one call of `optimise`."""

    def __init__(self, training: Training, compute: Compute, stopwatch: Stopwatch) -> None:
        self.training = training
        self.compute = compute
        self.stopwatch = stopwatch
        self.players = training.players
        self.kept = training.kept or self.players[-1].module
        self.layout = training.layout
        self.per_epoch = self.layout.batches * training.repeats
        epochs, iterations = self.players[-1].recipe.epochs, training.iterations
        self.epochs = epochs if iterations is None else 0
        self.total = self.per_epoch * epochs
        if iterations is not None and self.per_epoch:
            self.total = iterations
        self.done = 0
        self.unsaved = 0
        self.losses = LossSums(len(self.players), self.total, training.points, compute.device)
        self.loss = torch.full((), math.nan, device=compute.device)
        # NaN or infinite from the first loss on that is; float64, so that nothing overflows.
        self.all_losses = torch.zeros((), dtype=torch.float64, device=compute.device)
        self.parameters = [
            [p for p in player.module.parameters() if p.requires_grad] for player in self.players
        ]
        as_graph = compute.graphs and self.total >= step_graph.CAPTURE_FROM_ITERATIONS
        self.optimizers = [
            _optimizer(player.recipe, parameters, compute.device if as_graph else None)
            for player, parameters in zip(self.players, self.parameters, strict=True)
        ]
        self.graph: step_graph.StepGraph | None = None
        if as_graph:
            reason = "is shared by several workers" if world_size() > 1 else ""
            self.graph = step_graph.StepGraph(self.layout.batch, compute.device, reason)

    def again(self, iteration: Iteration) -> Iteration:
        """An iteration before anything was drawn."""
        return replace(iteration, generator=self.generator(iteration.number))

    def generator(self, number: int) -> torch.Generator:
        """Of the draws of an iteration."""
        return seeded("iteration", self.training.seed, number)

    @contextmanager
    def capturable(self) -> Iterator[None]:
        """No gradients, so that a graph allocates its own, and optimizers that are captured."""
        groups = [
            group
            for optimizer in self.optimizers
            for group in optimizer.param_groups
            if "capturable" in group
        ]
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        # Adam asks for it, and warns wherever it is set and nothing is captured.
        for group in groups:
            group["capturable"] = True
        yield
        for group in groups:
            group["capturable"] = False

    def set_learning_rates(self, epoch: int) -> None:
        for player, optimizer in zip(self.players, self.optimizers, strict=True):
            rate = player.recipe.learning_rate_at(epoch)
            for group in optimizer.param_groups:
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(rate)
                else:
                    group["lr"] = rate

    def curves(self) -> tuple[Curve, ...]:
        def rate(recipe: Recipe) -> Callable[[int], float]:
            return lambda iteration: recipe.learning_rate_at(iteration // self.per_epoch)

        return self.losses.curves(self.done, [rate(player.recipe) for player in self.players])

    def update(self, iteration: Iteration) -> None:
        with self.stopwatch.running(), self._compiled_or_not(iteration):
            losses = self.step(iteration) if self.graph is None else self.graph.run(self, iteration)
        self.loss = losses[-1]
        for number, loss in enumerate(losses):
            self.losses.add(number, self.done, loss)
        self.done += 1
        self.unsaved += 1
        # Reading the loss would synchronise with a GPU; it is checked once per epoch.
        if not self.compute.on_gpu:
            self.check_loss()

    def step(self, iteration: Iteration) -> list[Tensor]:
        """One update of every player; returns their losses.

        It is this that a CUDA graph captures: what differs between iterations is on the device.
        """
        losses = []
        for player, parameters, optimizer in zip(
            self.players, self.parameters, self.optimizers, strict=True
        ):
            optimizer.zero_grad(set_to_none=True)
            with self.compute.autocast():
                value = player.loss(iteration)
            value.backward()  # type: ignore[no-untyped-call]
            loss = value.detach()
            if world_size() > 1:
                self._average_gradients(parameters, loss)
            optimizer.step()
            self.all_losses.add_(loss)
            losses.append(loss)
        if self.training.after_update is not None:
            self.training.after_update()
        return losses

    def _compiled_or_not(self, iteration: Iteration) -> AbstractContextManager[object]:
        """Run a batch of another size eagerly: compiling for one more size would not pay off."""
        if self.compute.on_gpu and len(iteration.rows) != self.layout.batch:
            return cast(AbstractContextManager[object], torch.compiler.set_stance("force_eager"))
        return nullcontext()

    def _average_gradients(self, parameters: list[nn.Parameter], loss: Tensor) -> None:
        """Average gradients with one all-reduce per update.

        Not DistributedDataParallel: a family calls parts of its model, not its forward, and
        its buffers are already the same on every worker. The loss is included, so that all
        workers see the same value and fail at the same update.
        """
        gradients = [p.grad for p in parameters if p.grad is not None]
        average([*gradients, loss])

    def check_loss(self) -> None:
        if not math.isfinite(self.all_losses.item()):
            raise NonFiniteLoss(
                f"loss within the first {self.done} of {self.total} iterations",
                "became NaN or infinite",
                "lower the learning rate or the weight of the term that is ascended",
            )

    def check_weights(self) -> None:
        for player in self.players:
            check_weights(
                player.module,
                f"weights after {self.done} iterations",
                "lower the learning rate or the weight of the term that is ascended",
            )

    def last_loss(self) -> float:
        return float(self.loss)

    def ends(self) -> bool:
        """Worker 0 decides, since workers may differ by rounding."""
        until = self.training.until
        if until is None:
            return False
        with self.stopwatch.running():
            return on_first(until)

    def progress(self) -> Progress:
        epoch = min(self.done // max(self.per_epoch, 1) + 1, self.epochs)
        seconds = self.stopwatch.total()
        return Progress(self.done, self.total, self.last_loss(), seconds, epoch, self.epochs)

    def tell(self, on_progress: Callable[[Progress], bool]) -> bool:
        return on_first(lambda: on_progress(self.progress()))

    def save(self, checkpoints: Beside) -> None:
        self.check_loss()
        self.check_weights()
        self.finish(checkpoints)
        # Summed over workers, since the run may be resumed with another number of them.
        seconds = math.fsum(gather_objects(self.stopwatch.total()))
        on_first(lambda: self._save(checkpoints, seconds))
        self.unsaved = 0

    def finish(self, checkpoints: Beside) -> None:
        """Wait for the upload of the last checkpoint, whose time is not the training's."""
        spent = on_first(checkpoints.finish)
        if not self.compute.on_gpu and rank() == 0:
            self.stopwatch.leave_out(spent)

    def _save(self, checkpoints: Beside, seconds: float) -> None:
        tensors = {f"model/{name}": value for name, value in self.kept.state_dict().items()}
        for index, (parameter, state) in enumerate(self._optimized()):
            for name, value in state.get(parameter, {}).items():
                if value is not None:
                    tensors[f"optimizer/{index}/{name}"] = value
        tensors[SUMS] = self.losses.kept()
        metadata = {
            "iteration": str(self.done),
            "seconds": repr(seconds),
            "loss": repr(self.last_loss()),
        }
        checkpoints.save(self.done, tensors, metadata)

    def _optimized(self) -> list[tuple[nn.Parameter, dict[Tensor, Any]]]:
        """Every parameter of every player, with its optimizer's state."""
        return [
            (parameter, optimizer.state)
            for parameters, optimizer in zip(self.parameters, self.optimizers, strict=True)
            for parameter in parameters
        ]

    def resume(self, checkpoints: Checkpoints) -> None:
        loaded = on_first(checkpoints.load)
        if loaded is None:
            return
        tensors, metadata = loaded
        state = {k.removeprefix("model/"): v for k, v in tensors.items() if k.startswith("model/")}
        try:
            self.kept.load_state_dict(state)
            done = int(metadata["iteration"])
            self.stopwatch.restart(float(metadata["seconds"]) / world_size())
            self.loss = torch.tensor(float(metadata["loss"]), device=self.compute.device)
            self._restore_optimizers(tensors)
        except (RuntimeError, LookupError, ValueError, TypeError) as error:
            raise CorruptObject(
                "checkpoint", f"does not fit this model: {error}", "delete it and run again"
            ) from error
        self.losses.restore(tensors.get(SUMS), done)
        self.done = done

    def _restore_optimizers(self, tensors: dict[str, Tensor]) -> None:
        optimized = self._optimized()
        for name, value in tensors.items():
            where, _, rest = name.partition("/")
            if where == "optimizer":
                index, _, entry = rest.partition("/")
                parameter, entries = optimized[int(index)]
                like = parameter if value.shape == parameter.shape else value
                buffer = torch.empty_like(like, dtype=value.dtype, device=parameter.device)
                entries[parameter][entry] = buffer.copy_(value)


def _optimizer(
    recipe: Recipe, parameters: list[nn.Parameter], device: torch.device | None
) -> torch.optim.Optimizer:
    """An optimizer, whose learning rate is a tensor on `device` unless that is None."""
    decay = recipe.weight_decay
    rate: float | Tensor = recipe.learning_rate
    if device is not None:
        rate = torch.full((), recipe.learning_rate, device=device)
    if recipe.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=rate, weight_decay=decay, fused=True)
    if recipe.optimizer == "adamw":
        groups = [
            {"params": [p for p in parameters if p.dim() > 1], "weight_decay": decay},
            {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=rate, fused=True)
    if recipe.optimizer == "lars":
        return LARS(
            parameters, lr=rate, momentum=recipe.momentum, weight_decay=decay,
            trust=recipe.trust, clip=recipe.clip_trust,
        )  # fmt: skip
    return torch.optim.SGD(
        parameters,
        lr=rate,
        momentum=recipe.momentum,
        weight_decay=decay,
        fused=True,
    )
