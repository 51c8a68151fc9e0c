"""An iteration as one CUDA graph: captured once, then replayed on what the host draws for the next.

What an iteration takes from the host goes through one buffer on the device, which a replay begins
with: one copy, and one launch. Learning rates stand on the device, too (`train.loop`).

The first iterations run as always, on a stream of their own, as PyTorch's documentation asks for:
kernels are chosen and compiled, and optimizers make their state. They also show whether what an
iteration takes can be made again for another one. If not, iterations go on as they began, and a
warning says why.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from unlearn_ray.core.capture import Host, Make, captured_by
from unlearn_ray.core.transfer import moved, packed, unpacked

if TYPE_CHECKING:
    from unlearn_ray.train.loop import Iteration

_log = logging.getLogger(__name__)

# Iterations that run as always before one is captured, as in PyTorch's documentation.
WARM_UPS = 3

# A capture takes about as long as two iterations; below this many it does not pay off.
CAPTURE_FROM_ITERATIONS = 20


class DeviceGraph:
    """Launches that are captured once and replayed at once, on the same memory.

    Memory that they allocate belongs to the graph, as long as it lives.
    """

    def __init__(self) -> None:
        self._graph = torch.cuda.CUDAGraph()
        self._side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._warm_ups, self._captured = 0, False

    @contextmanager
    def warming_up(self) -> Iterator[None]:
        """Run what will be captured, on a stream of its own."""
        current = torch.cuda.current_stream()
        self._side.wait_stream(current)
        with torch.cuda.stream(self._side):
            yield
        current.wait_stream(self._side)

    def capturing(self) -> AbstractContextManager[None]:
        """Capture what is launched, which computes nothing yet.

        Other threads, such as that of checkpoints, may use the device meanwhile.
        """
        return torch.cuda.graph(self._graph, capture_error_mode="thread_local")

    def replay(self) -> None:
        """Launch it."""
        self._graph.replay()

    def run(self, step: Callable[[], None]) -> None:
        """Run a step that takes nothing from the host: warming up, or by replaying it."""
        if self._warm_ups < WARM_UPS:
            self._warm_ups += 1
            with self.warming_up():
                step()
            return
        if not self._captured:
            with self.capturing():
                step()
            self._captured = True
        self.replay()


class Iterated(Protocol):
    """A training whose iterations are captured."""

    def step(self, iteration: Iteration) -> list[Tensor]:
        """Compute an iteration; returns its losses, on the device."""
        ...

    def again(self, iteration: Iteration) -> Iteration:
        """The same iteration with a new generator, as if nothing had been drawn."""
        ...

    def capturable(self) -> AbstractContextManager[None]:
        """Entered while an iteration is captured."""
        ...


class StepGraph:
    """Runs the iterations of a training: the first as they are, the others by replaying one.

    It does not hold the training, whose end frees its memory.

    Args:
        rows: of a batch; one of another size is not replayed.
        device: of everything.
        reason: why no iteration can be captured, if that is known.
    """

    def __init__(self, rows: int, device: torch.device, reason: str = "") -> None:
        self._rows, self._device = rows, device
        self._graph = DeviceGraph()
        self._warm_ups = 0
        self._tape: list[Make] = []
        self._like: list[Tensor] = []
        self._buffer = torch.empty(0)
        self._losses: list[Tensor] | None = None
        self._told: set[str] = set()
        self._reason = ""
        if reason:
            self._give_up(reason)

    def run(self, training: Iterated, iteration: Iteration) -> list[Tensor]:
        """Compute an iteration; always of the same training.

        Returns:
            Its losses, on the device; those of a replay are overwritten by the next.
        """
        if self._reason:
            return training.step(iteration)
        if len(iteration.rows) != self._rows:
            self._tell("has a batch of another size")
            return training.step(iteration)
        if self._warm_ups < WARM_UPS:
            return self._warm_up(training, iteration)
        hosts = self._made(iteration)
        taken = [tensor for host in hosts for tensor in host.tensors]
        if self._losses is None:
            self._losses = self._captured(training, iteration, hosts, taken)
        elif not _alike(taken, self._like):
            self._tell("takes tensors of other shapes than the one that is replayed")
            return training.step(training.again(iteration))
        host = packed(taken, pinned=self._device.type == "cuda")
        self._buffer.copy_(host, non_blocking=True)
        self._graph.replay()
        return self._losses

    def _tell(self, reason: str) -> None:
        """Tell once why an iteration between those that are replayed is not."""
        if reason not in self._told:
            self._told.add(reason)
            _log.info("an iteration is launched operation by operation: it %s", reason)

    def _warm_up(self, training: Iterated, iteration: Iteration) -> list[Tensor]:
        recorder = _Recorder(iteration, self._device)
        with self._graph.warming_up(), captured_by(recorder):
            losses = training.step(iteration)
        # The tape of an earlier iteration must give this one what it took.
        self._tape = self._tape or recorder.tape
        again = training.again(iteration)
        reason = recorder.reason or _difference(self._made(again), recorder.hosts)
        if not reason and not torch.equal(
            again.generator.get_state(), iteration.generator.get_state()
        ):
            reason = "draws from Batch.generator other than by Batch.drawn"
        if reason:
            self._give_up(reason)
        self._warm_ups += 1
        return losses

    def _made(self, iteration: Iteration) -> list[Host[Any]]:
        return [make(iteration) for make in self._tape]

    def _captured(
        self,
        training: Iterated,
        iteration: Iteration,
        hosts: Sequence[Host[Any]],
        taken: Sequence[Tensor],
    ) -> list[Tensor]:
        self._like = [torch.empty_like(tensor) for tensor in taken]
        self._buffer = packed(taken).to(self._device)
        player = _Player(hosts, iter(unpacked(self._buffer, taken)))
        with training.capturable(), captured_by(player), self._graph.capturing():
            return training.step(iteration)

    def _give_up(self, reason: str) -> None:
        self._reason, self._tape = reason, []
        _log.warning(
            "iterations are launched operation by operation, not as one CUDA graph: each %s", reason
        )


class _Recorder:
    """Notes what an iteration takes, and gives it right away."""

    def __init__(self, iteration: Iteration, device: torch.device) -> None:
        self._iteration, self._device = iteration, device
        self.tape: list[Make] = []
        self.hosts: list[Host[Any]] = []
        self.reason = ""

    def given(self, make: Make) -> Any:
        """What it takes next."""
        host = make(self._iteration)
        self.tape.append(make)
        self.hosts.append(host)
        return host.made(moved(host.tensors, self._device))

    def refuse(self, reason: str) -> None:
        """The first reason is told."""
        self.reason = self.reason or reason


class _Player:
    """Gives the iteration that is captured its places in the buffer."""

    def __init__(self, hosts: Sequence[Host[Any]], places: Iterator[Tensor]) -> None:
        self._hosts, self._places = iter(hosts), places

    def given(self, make: Make) -> Any:
        """What it takes next."""
        host = next(self._hosts)
        return host.made([next(self._places) for _ in host.tensors])

    def refuse(self, reason: str) -> None:
        """No iteration before it was refused."""
        raise AssertionError(reason)


def _difference(made: Sequence[Host[Any]], taken: Sequence[Host[Any]]) -> str:
    """Why an iteration cannot be given what it takes; empty if it can."""
    if len(made) != len(taken):
        return "takes more or less from the host than another"
    for one, other in zip(made, taken, strict=True):
        if not _alike(one.tensors, other.tensors):
            return "takes tensors of other shapes than another"
        if not all(map(torch.equal, one.tensors, other.tensors)):
            return "takes what depends on more than its batch's generator and progress"
    return ""


def _alike(some: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    return [(each.shape, each.dtype) for each in some] == [
        (each.shape, each.dtype) for each in others
    ]
