"""`Graph`: ensures that steps have run, inputs first and at most once per store.

The driver, trials and tests run steps through it. An observation that is not kept is no step of its
own: the step that needs it computes it from the model, uses it and drops it.

A model that was removed from the store (`Store.removals`) has a record all the same, so that
nothing is trained again for numbers that are there. Only where a step needs the model itself is it
trained again, once.

The steps that observe and measure a model may run along with it (`once`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from unlearn_ray.core.errors import RemovedArtifact
from unlearn_ray.steps.base import Step, with_inputs
from unlearn_ray.steps.known import Known
from unlearn_ray.steps.once import Account, Done, RunAlong, Uploaded, restore, run_once
from unlearn_ray.storage.store import Along, Record

Result = TypeVar("Result")


@dataclass(frozen=True)
class Beside:
    """How steps run along with one that makes a model.

    Attributes:
        run: runs such a step, given the model's record; calls its last argument with the step's.
        most_seconds: the longest that making the model may have taken: else each is apart.
    """

    run: Callable[[Step, Record, Callable[[Record], None]], Along]
    most_seconds: float


class Graph:
    """Runs steps that a store does not hold yet.

    Args:
        known: the records that this process has read, and the store.
        execute: runs a step whose inputs are stored, and uploads its artifact.
        account: what the compute time is charged to.
        keep: names of large quantities to store all the same; None keeps all.
        give_up: polled while another process runs a step; True stops waiting.
    """

    def __init__(
        self,
        known: Known,
        execute: Callable[[Step], Uploaded],
        account: Account,
        *,
        keep: Iterable[str] | None = None,
        give_up: Callable[[], bool] = lambda: False,
    ) -> None:
        self._known = known
        self._how = execute, account
        self._keep = None if keep is None else frozenset(keep)
        self._give_up = give_up
        self._done: dict[str, Done] = {}

    def ensure(self, *steps: Step) -> list[Done]:
        """The records of steps, and whether this graph ran them; their inputs come first.

        Raises:
            TrialError: a step failed.
            HeldElsewhere: `give_up` returned True.
        """
        self._known.look(with_inputs(steps).values())
        return [self._ensured(step) for step in steps]

    def ensure_along(self, model: Step, steps: Sequence[Step], beside: Beside) -> list[Done]:
        """The same for a model and steps that read it; they share its record if it is made now.

        Args:
            model: the step that makes the model. It is expected not to have run yet: its lease is
                taken before its record is looked for.
            steps: what reads it.
            beside: how.

        Raises:
            TrialError: a step failed.
            HeldElsewhere: `give_up` returned True.
        """
        if self._known.get(model) is None:
            after = with_inputs(steps, lambda step: step.key == model.key)
            read = _readers(model, after)
            others = [*model.inputs().values(), *(after[key] for key in after.keys() - read)]
            self._known.look(others)
            self._done[model.key] = self._run(model, partial(self._along, model, steps, beside))
            if not self._done[model.key].ran:
                self._known.forget(after[key] for key in read)
                self._known.keep(self._done[model.key].record)
        return self.ensure(model, *steps)

    def _along(
        self, model: Step, steps: Iterable[Step], beside: Beside, record: Record
    ) -> Iterator[Along]:
        """Run what reads a model that was just made, inputs first; see `once.RunAlong`."""
        if record.seconds > beside.most_seconds:
            return
        self._known.keep(record)
        readers = _readers(model, with_inputs(steps))
        done: set[str] = set()

        def run(step: Step) -> Iterator[Along]:
            if step.key in done:
                return
            done.add(step.key)
            for needed in self._needed(step):
                if needed.key in readers:
                    yield from run(needed)
                elif needed.key != model.key:
                    self._ensured(needed)
            yield self._with_inputs_restored(
                step, partial(beside.run, step, record, self._known.keep)
            )

        for step in steps:
            yield from run(step)

    def records(self, steps: Iterable[Step]) -> list[Record]:
        """The records of those steps that have one."""
        met = (self._known.get(step) for step in steps)
        return [record for record in met if record is not None]

    def _ensured(self, step: Step) -> Done:
        done = self._done.get(step.key)
        if done is None:
            record = self._known.get(step)
            done = self._run(step) if record is None else Done(record, ran=False)
            self._done[step.key] = done
        return done

    def _needed(self, step: Step) -> Iterator[Step]:
        """The inputs of a step, and in place of one that is not kept, what it is computed from."""
        for wanted in step.inputs().values():
            kept = self._keep is None or wanted.kept(self._keep)
            yield from (wanted,) if kept else wanted.inputs().values()

    def _run(self, step: Step, along: RunAlong = lambda _: ()) -> Done:
        for needed in self._needed(step):
            self._ensured(needed)
        run = partial(run_once, step, self._known.store, *self._how, give_up=self._give_up)
        done = self._with_inputs_restored(step, partial(run, along=along))
        self._known.keep(done.record)
        return done

    def _with_inputs_restored(self, step: Step, run: Callable[[], Result]) -> Result:
        """What `run` returns, once all removed artifacts that it needs are there again."""
        restored: set[str] = set()
        while True:
            try:
                return run()
            except RemovedArtifact as removed:
                wanted = with_inputs([step]).get(removed.key)
                if wanted is None or wanted is step or removed.key in restored:
                    raise
                restored.add(removed.key)
                self._known.keep(self.restore(wanted))

    def restore(self, step: Step) -> Record:
        """The new record of a step that is run again because its artifact was removed.

        Raises:
            TrialError: it, or an input that was removed as well, failed.
            HeldElsewhere: `give_up` returned True.
        """

        def run() -> Done:
            store = self._known.store
            return Done(restore(step, store, *self._how, give_up=self._give_up), ran=True)

        return self._with_inputs_restored(step, run).record


def _readers(model: Step, steps: Mapping[str, Step]) -> set[str]:
    """The keys of those of these steps, in topological order, that depend on the model."""
    found = {model.key}
    for step in steps.values():
        if any(wanted.key in found for wanted in step.inputs().values()):
            found.add(step.key)
    return found - {model.key}


def batches(steps: Iterable[Step]) -> dict[str, list[Step]]:
    """Steps by batch, each after those of its inputs that belong to no batch.

    Trainings are left out.

    Args:
        steps: the steps to run.
    """
    wanted = {step.key: step for step in steps if step.asks != "training"}
    found: dict[str, list[Step]] = {}
    for step in wanted.values():
        if step.batch is None:
            continue
        batch = found.setdefault(step.batch, [])
        small = (one for one in step.inputs().values() if one.batch is None)
        batch += [one for one in small if one.key in wanted and one not in batch]
        batch.append(step)
    run = {step.key for batch in found.values() for step in batch}
    # What only needed it may be stored, and itself be gone.
    return found | {key: [step] for key, step in wanted.items() if key not in run}
