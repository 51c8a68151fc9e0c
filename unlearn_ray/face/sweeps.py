"""Sweeps and their results as Python objects: `unlearn_ray.Sweep` and `unlearn_ray.Run`."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearn_ray.cli.run import check_before_spending, interruptible, keep_models, train
from unlearn_ray.config import sweep_schema
from unlearn_ray.config.sweep_file import load_sweep
from unlearn_ray.core.errors import BadInput, StepFailed
from unlearn_ray.face.trees import tree_of
from unlearn_ray.storage.store import Store, open_store
from unlearn_ray.studies.plan import RETRY, Plan, make_plan, retried

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from unlearn_ray.reporting.table import Comparison

# Of a sweep that is a dict and says no name.
_NAME = "sweep"


@dataclass(frozen=True)
class Sweep:
    """A sweep that was read and checked.

    Attributes:
        checked: its validated values.
    """

    checked: sweep_schema.Sweep

    @classmethod
    def load(
        cls,
        source: str | PathLike[str] | Mapping[str, Any],
        *,
        sets: Sequence[str] = (),
    ) -> Sweep:
        """Read and check a sweep.

        Args:
            source: a YAML file, the name of a bundled sweep such as "quickstart", or a dict with
                the fields of such a file.
            sets: overrides, as in ["search.trials=12"].

        Raises:
            ConfigError: what is wrong, with its line, or its path in the dict.
        """
        if isinstance(source, Mapping):
            return cls(load_sweep(Path(_NAME), sets, tree=tree_of(source)))
        return cls(load_sweep(Path(source), sets))

    @property
    def name(self) -> str:
        """Its name in rows."""
        return self.checked.name

    def plan(self, store: str | None = None) -> Planned:
        """What running it would train; printing it shows that.

        Args:
            store: a folder, s3:// or az:// URL, instead of the sweep's own.

        Raises:
            StoreError: the store cannot be read.
        """
        checked = self._stored_in(store)
        opened = open_store(checked.store)
        return Planned(make_plan(checked, opened), opened)

    def run(
        self, store: str | None = None, address: str | None = None, *, retry_failed: bool = False
    ) -> Run:
        """Run what the store does not hold yet, on Ray; shows its progress on stderr.

        It may be interrupted (Ctrl-C, or a notebook's stop button), and run again.

        Args:
            store: a folder, s3:// or az:// URL, instead of the sweep's own.
            address: of a running Ray cluster; None: that of RAY_ADDRESS, or else a local one.
            retry_failed: whether to run failed reference steps again.

        Raises:
            UnlearnRayError: the store, the cluster or a reference step failed.
            KeyboardInterrupt: it was interrupted.
        """
        planned = self.plan(store)
        plan, opened = planned.plan, planned.store
        if retry_failed:
            plan = retried(plan, opened)
        for failed in plan.failed_references:
            raise StepFailed(f"{failed.step}", f"failed earlier: {failed.failure}", RETRY)
        if not plan.complete:
            from rich.console import Console

            check_before_spending(plan, opened, address)
            with _stopping() as stop:
                train(plan, opened, address, Console(stderr=True), stop)
            if stop.is_set():
                raise KeyboardInterrupt
        keep_models(plan, opened)
        return Run(plan, opened)

    def _stored_in(self, store: str | None) -> sweep_schema.Sweep:
        return self.checked if store is None else replace(self.checked, store=store)


@dataclass(frozen=True, repr=False)
class Planned:
    """What a sweep would train; printing it shows that.

    Attributes:
        plan: the plan itself.
        store: what it was compared with.
    """

    plan: Plan
    store: Store

    def __str__(self) -> str:
        from unlearn_ray.reporting.plan_view import plan_view

        return plan_view(self.plan, self.store.url)

    __repr__ = __str__


@dataclass(frozen=True, repr=False)
class Table:
    """The comparison of a sweep's studies; printing it shows the table.

    Attributes:
        comparison: its numbers.
    """

    comparison: Comparison

    def frame(self) -> pd.DataFrame:
        """One row per study and reference model, numbers unrounded."""
        return self.comparison.frame()

    def __str__(self) -> str:
        from unlearn_ray.reporting.render import plain_text

        return plain_text(self.comparison)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from unlearn_ray.reporting.notebook import notebook_html

        return notebook_html(self.comparison)


@dataclass(frozen=True)
class Run:
    """A sweep that was run, and its results.

    Attributes:
        plan: of the sweep, as it was when the run began.
        store: where its results are.
    """

    plan: Plan
    store: Store

    @property
    def name(self) -> str:
        """The sweep's name."""
        return self.plan.sweep.name

    def __repr__(self) -> str:
        return f"Run({self.name!r}, {self.store.url!r})"

    def frame(self) -> pd.DataFrame:
        """The sweep's rows: one per trial and seed, and one per reference model and seed."""
        import pandas as pd

        from unlearn_ray.studies.plan import sweep_rows

        rows = sweep_rows(self.plan.sweep, self.store)
        return pd.DataFrame([row for row in rows if row["sweep"] == self.name])

    def table(self) -> Table:
        """The comparison of its studies over the reporting seeds.

        Raises:
            BadInput: there are no rows yet.
        """
        from unlearn_ray.reporting.table import comparison

        rows = self.frame()
        if not len(rows):
            raise BadInput(f"sweep {self.name}", "it has no rows yet", "run it first")
        sweep = self.plan.sweep
        return Table(
            comparison(
                rows,
                [study.name for study in sweep.studies],
                tuning={study.key: sweep.seeds.tuning for study in self.plan.studies},
            )
        )

    def model(self, study: str, *, seed: int, replicate: int = 0) -> nn.Module:
        """A model of the table: the winner of a study, or "retrain" or "original".

        Args:
            study: its name.
            seed: one of the reporting seeds.
            replicate: which of several models of that seed.

        Raises:
            BadInput: there is no such model.
        """
        from unlearn_ray.takeaway.choice import choose
        from unlearn_ray.takeaway.stored_model import load_model

        choice = choose(self.store, self.name, study, seed, replicate)
        return load_model(self.store, choice.record.key)


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """An event that an interruption sets, where this thread is told of interruptions."""
    if threading.current_thread() is not threading.main_thread():
        yield threading.Event()
        return
    with interruptible() as stop:
        yield stop
