"""`SweepEvidence`: everything that a store holds of one sweep for its report, read once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from unlearn_ray.core.columns import COLUMNS
from unlearn_ray.core.errors import BadInput, did_you_mean, listed
from unlearn_ray.monitor.kept_sweeps import KeptSweep, kept_sweeps
from unlearn_ray.monitor.manifest import Manifest, manifests, orders, tuning_seeds
from unlearn_ray.monitor.running import Observer
from unlearn_ray.monitor.status import SweepStatus, sweep_statuses
from unlearn_ray.report.observed import MOST_STUDIES, Observations, observations_of
from unlearn_ray.report.searches import Search, searches
from unlearn_ray.reporting.ranking import Tuning, is_ranked_by, scored_trials
from unlearn_ray.reporting.table import Comparison, comparisons, models_of, newest_studies
from unlearn_ray.studies.rows import HOURS
from unlearn_ray.studies.stored_rows import read_rows, swept

if TYPE_CHECKING:
    import pandas as pd

    from unlearn_ray.storage.store import Store


_IN_EVERY_ROW = [column.name for column in COLUMNS if column.filled == "every row"]


@dataclass(frozen=True, kw_only=True)
class SweepEvidence:
    """One sweep, as its store tells of it.

    Attributes:
        store: which holds it.
        sweep: its name.
        manifest: how it was last started; None if the store has rows of it alone.
        rows: those of this sweep, with the columns of `unlearn_ray.core.columns`; may be empty.
        comparison: the table of its studies; None without rows.
        kept: its file, as it was last started; None if the store keeps none.
        tuning: tuning seeds by study key, where manifests list them.
        status: its progress; None without a manifest.
    """

    store: Store
    sweep: str
    manifest: Manifest | None
    rows: pd.DataFrame
    comparison: Comparison | None
    kept: KeptSweep | None
    tuning: Tuning
    status: SweepStatus | None

    @cached_property
    def trials(self) -> pd.DataFrame:
        """The trials of its newest studies, scored over the tuning seeds; see `scored_trials`."""
        ranked_by = [name for name in self.rows if is_ranked_by(str(name))]
        of_trials = self.rows[ranked_by][self.rows["purpose"].isin(("tuning", "reporting"))]
        return scored_trials(newest_studies(of_trials)[0], self.tuning)

    @cached_property
    def searches(self) -> list[Search]:
        """What its studies searched."""
        if not (self.rows["purpose"] == "tuning").any():
            return []
        return searches(self.trials, self.studies)

    @property
    def hours(self) -> dict[str, float]:
        """Accelerator hours that it has spent, by kind of step."""
        if self.status is not None:
            return self.status.hours
        held = {
            kind: self.rows.get(name)
            for kind, name in zip(("unlearn", "measure"), HOURS, strict=True)
        }
        return {kind: float(each.sum()) for kind, each in held.items() if each is not None}

    @cached_property
    def studies(self) -> tuple[str, ...]:
        """The names of its studies: those of its manifest in file order, then others by name."""
        named = () if self.manifest is None else tuple(one.name for one in self.manifest.studies)
        trials = self.rows[["study"]][self.rows["purpose"].isin(("tuning", "reporting"))]
        return (*named, *sorted(set(trials["study"].unique()) - set(named)))

    @cached_property
    def models(self) -> dict[str, pd.DataFrame]:
        """Complete rows of the reporting runs of its table's models, by name; see `models_of`."""
        return {} if self.comparison is None else models_of(self.rows, self.tuning)

    @cached_property
    def observations(self) -> Observations:
        """What the models of its table say of each sample; read when figures ask for it.

        Of as many studies as figures can show.
        """
        return self._observations(MOST_STUDIES)

    @cached_property
    def all_observations(self) -> Observations:
        """The same of every study."""
        return self._observations(None)

    def _observations(self, most: int | None) -> Observations:
        return observations_of(self.store, self.comparison, self.models, most)


def sweep_evidence(store: Store, sweep: str | None = None) -> SweepEvidence:
    """What a store holds of a sweep.

    Args:
        store: the store.
        sweep: its name; may be left out if the store has one sweep alone.

    Raises:
        BadInput: no sweep of this name has a manifest or rows, or none is named of several.
        StoreError: the store cannot be read.
    """
    told = manifests(store)
    name = _chosen(sweep, sorted({*told, *swept(store)}), store)
    frame = _rows_of(store, name)
    tuning = tuning_seeds(told)
    compared = comparisons(frame, orders(told), tuning) if len(frame) else []
    return SweepEvidence(
        store=store,
        sweep=name,
        manifest=told.get(name),
        rows=frame,
        comparison=compared[0] if compared else None,
        kept=_kept(store, name),
        tuning=tuning,
        status=sweep_statuses(store, name, Observer())[0] if name in told else None,
    )


def sweep_names(store: Store) -> list[str]:
    """The sweeps of a store, the last started first, then those of which it has rows alone."""
    told = manifests(store)
    return [*told, *(name for name in swept(store) if name not in told)]


def _chosen(sweep: str | None, known: list[str], store: Store) -> str:
    if sweep is not None:
        if sweep in known:
            return sweep
        reason = f"{store.url} has neither a manifest nor rows of it"
        raise BadInput(f"sweep {sweep}", reason, did_you_mean(sweep, known))
    if len(known) == 1:
        return known[0]
    if not known:
        remedy = "run a sweep on it first: unlearn-ray run FILE"
        raise BadInput(f"store {store.url}", "no sweep was started on it", remedy)
    raise BadInput(
        f"store {store.url}", f"it holds {len(known)} sweeps", f"name one of {listed(known, 20)}"
    )


def _rows_of(store: Store, sweep: str) -> pd.DataFrame:
    """The rows of a sweep; if there is none, a frame with the columns of every row."""
    import pandas as pd

    rows = read_rows(store, sweep=sweep)
    if not rows.num_rows:
        return pd.DataFrame(columns=_IN_EVERY_ROW)
    frame: pd.DataFrame = rows.to_pandas()
    return frame


def _kept(store: Store, name: str) -> KeptSweep | None:
    try:
        return kept_sweeps(store, name)[0]
    except BadInput:
        return None
