"""`Graph`: ensures that steps have run, inputs first and at most once per store.

The driver, trials and tests run steps through it. An observation that is not kept is no step of its
own: the step that needs it computes it from the model, uses it and drops it.

A model that was removed from the store (`Store.removals`) has a record all the same, so that
nothing is trained again for numbers that are there. Only where a step needs the model itself is it
trained again, once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from unlearn_ray.core.errors import RemovedArtifact
from unlearn_ray.steps.base import Step, with_inputs
from unlearn_ray.steps.known import Known
from unlearn_ray.steps.once import Account, Done, Uploaded, restore, run_once
from unlearn_ray.storage.store import Record


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

    def _run(self, step: Step) -> Done:
        for wanted in step.inputs().values():
            kept = self._keep is None or wanted.kept(self._keep)
            for needed in (wanted,) if kept else wanted.inputs().values():
                self._ensured(needed)
        done = self._with_inputs_restored(
            step, lambda: run_once(step, self._known.store, *self._how, give_up=self._give_up)
        )
        self._known.keep(done.record)
        return done

    def _with_inputs_restored(self, step: Step, run: Callable[[], Done]) -> Done:
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
