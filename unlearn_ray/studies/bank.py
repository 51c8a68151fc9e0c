"""Scores of many models: which models a sweep's scores read, and the rows that hold them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unlearn_ray.config.sweep_schema import Study, Sweep
from unlearn_ray.core.errors import CorruptObject
from unlearn_ray.core.runs import ORIGINAL, RETRAIN
from unlearn_ray.data.splits import Masks
from unlearn_ray.evidence.estimates import ESTIMATE
from unlearn_ray.scores.base import OUTPUTS, MaskedScore, Score
from unlearn_ray.steps.base import Step, with_inputs
from unlearn_ray.steps.kinds.observe import Observe
from unlearn_ray.steps.kinds.pretrain import Pretrain
from unlearn_ray.steps.kinds.retrain import Retrain
from unlearn_ray.steps.kinds.samples import Samples
from unlearn_ray.steps.kinds.score import ScoreModels
from unlearn_ray.steps.kinds.unlearn import Unlearn
from unlearn_ray.steps.references import reference
from unlearn_ray.steps.setting import BankSetting
from unlearn_ray.storage.store import Record, Store
from unlearn_ray.studies.history import Row
from unlearn_ray.studies.rows import (
    HOURS,
    Hours,
    Keys,
    Scalar,
    Seconds,
    State,
    Subject,
    row,
)
from unlearn_ray.studies.study import point_key, references_folder, row_name, study_key
from unlearn_ray.studies.trial import hours_for, origin_of

_SCORED = "key_score_"


@dataclass(frozen=True)
class ScoreRow:
    """The scores of one kind of model, on the bank or on the replicates of one split.

    Attributes:
        name: the row's.
        subject: what it is about.
        steps: one per score.
    """

    name: str
    subject: Subject
    steps: tuple[ScoreModels, ...]

    @property
    def models(self) -> tuple[Step, ...]:
        """The steps that train the scored models."""
        return self.steps[0].models

    @property
    def on_bank(self) -> bool:
        """Whether the models are a bank's."""
        return self.models[0].setting.masks is not None

    @property
    def keys(self) -> dict[str, str]:
        """The keys of the score steps, by column of the row."""
        return {f"{_SCORED}{step.score.name}": step.key for step in self.steps}

    def is_in(self, rows: Mapping[str, Row]) -> bool:
        """Whether a row is up to date in every score, or failed."""
        held = rows.get(self.name)
        return held is not None and (
            held["state"] == State.FAILED
            or all(held.get(column) == key for column, key in self.keys.items())
        )


def bank_models(sweep: Sweep) -> list[Pretrain]:
    """The base models of a sweep's bank."""
    bank = sweep.bank
    if bank is None:
        return []
    setting = BankSetting.of(sweep.setting, Masks(samples=bank.samples))
    return [
        Pretrain(setting=setting, seed=bank.seed, replicate=number) for number in range(bank.models)
    ]


def bank_references(sweep: Sweep) -> list[Step]:
    """The steps of a bank that all methods share, in topological order."""
    wanted: list[Step] = []
    for base in bank_models(sweep):
        assert sweep.bank is not None
        models: list[Step] = [base, *([base.same(Retrain)] if sweep.bank.retrained else [])]
        wanted.append(base.same(Samples))
        # Outputs also estimate memorisation.
        quantities = dict.fromkeys((OUTPUTS, *(score.quantity for score in sweep.masked_scores)))
        wanted += [
            model.same(Observe, model=model, quantity=quantity)
            for model in models
            for quantity in quantities
        ]
    return list(with_inputs(wanted).values())


def reference_score_rows(sweep: Sweep) -> list[ScoreRow]:
    """The score rows of doing nothing, and of retraining on the bank."""

    def named(method: str) -> Callable[[int], tuple[str, Subject]]:
        prefix = f"{references_folder(sweep)}{sweep.name}/score-{method}"
        return lambda seed: (
            f"{prefix}-{seed}",
            Subject(sweep.name, "", "score", method, -1, seed),
        )

    rows = _score_rows(sweep, sweep.scores, lambda base: base, named(ORIGINAL))
    if sweep.bank is not None and sweep.bank.retrained:
        scores = [score for score in sweep.masked_scores if not score.of_original]
        rows += _score_rows(sweep, scores, lambda base: base.same(Retrain), named(RETRAIN))
    return rows


def study_score_rows(
    sweep: Sweep, study: Study, number: int, point: Mapping[str, Any]
) -> list[ScoreRow]:
    """The score rows of a study's winner, from its number and point."""
    method, key = study.at(dict(point)), study_key(sweep, study)

    def named(seed: int) -> tuple[str, Subject]:
        subject = Subject(
            sweep.name, key, "score", study.name, number, seed,
            point=point_key(point), hyperparameters=method,
        )  # fmt: skip
        return row_name(key, sweep.name, "score", number, point, seed), subject

    scores = [score for score in sweep.scores if not score.of_original]
    return _score_rows(sweep, scores, lambda base: base.same(Unlearn, method=method), named)


def score_rows_of_a_study(sweep: Sweep) -> int:
    """How many rows of scores a winner has: one of the bank, and one of each split's replicates."""
    own = [score for score in sweep.scores if not score.of_original]
    of_masks = any(isinstance(score, MaskedScore) for score in own)
    of_replicates = any(not isinstance(score, MaskedScore) for score in own)
    return int(of_masks) + of_replicates * len(sweep.seeds.reporting)


def _score_rows(
    sweep: Sweep,
    scores: Iterable[Score],
    scored: Callable[[Step], Step],
    named: Callable[[int], tuple[str, Subject]],
) -> list[ScoreRow]:
    """A row for the bank, and one for each split whose replicates are scored."""
    of_masks: list[Score] = []
    of_replicates: list[Score] = []
    for score in scores:
        (of_masks if isinstance(score, MaskedScore) else of_replicates).append(score)
    wanted: list[tuple[int, Sequence[Step], list[Score]]] = []
    if sweep.bank is not None:
        wanted.append((sweep.bank.seed, bank_models(sweep), of_masks))
    wanted += [(seed, replicates(sweep, seed), of_replicates) for seed in sweep.seeds.reporting]
    rows = []
    for seed, bases, chosen in wanted:
        models = tuple(map(scored, bases))
        steps = tuple(models[0].same(ScoreModels, score=one, models=models) for one in chosen)
        if steps:
            rows.append(ScoreRow(*named(seed), steps))
    return rows


def replicates(sweep: Sweep, seed: int) -> list[Step]:
    """The originals of a reporting seed."""
    return [
        reference("original", sweep.setting, seed, number)
        for number in range(sweep.seeds.replicates)
    ]


def own_steps(rows: Iterable[ScoreRow], references: Collection[str]) -> list[Step]:
    """The steps behind score rows, but those of these keys and their inputs."""
    wanted = (step for row in rows for step in row.steps)
    return list(with_inputs(wanted, lambda step: step.key in references).values())


def batches_of(wanted: ScoreRow, references: Collection[str]) -> list[list[Step]]:
    """The steps behind a score row by worker: those of each model, and the scores, last.

    Args:
        wanted: the row.
        references: keys of steps that run for all rows, and are left out.
    """
    of_models: dict[str, list[Step]] = {}
    for step in own_steps((wanted,), references):
        if not isinstance(step, ScoreModels):
            model = step.model if isinstance(step, Observe) else step
            of_models.setdefault(model.key, []).append(step)
    return [*of_models.values(), list(wanted.steps)]


def write_scores(
    wanted: ScoreRow, sweep: Sweep, records: Mapping[str, Record], store: Store
) -> None:
    """Write a score row; an existing one gets the scores that are new or of more models.

    Args:
        wanted: the row.
        sweep: its sweep.
        records: those of all its steps that have one, by key.
        store: where it is stored.
    """
    written = _filled(wanted, sweep, records)
    stands = store.row(wanted.name)
    if stands is None:
        if store.write_row(wanted.name, written):
            return
        stands = store.row(wanted.name) or written
    if stands["state"] == State.FAILED:
        return
    changed = [step for step in wanted.steps if stands.get(_key_column(step)) != step.key]
    if changed:
        anew = [name for step in changed for name in _columns(step)]
        store.extend_row(wanted.name, written, [*anew, *HOURS, "made_on"])


def failed_scores(wanted: ScoreRow, sweep: Sweep, failure: str, store: Store) -> None:
    """Write the row of models that could not be unlearned or scored."""
    failed = _common(wanted, sweep, {}, State.FAILED, failure)
    store.write_row(wanted.name, failed)


def _filled(wanted: ScoreRow, sweep: Sweep, records: Mapping[str, Record]) -> dict[str, Scalar]:
    written = _common(wanted, sweep, records, State.COMPLETE, None)
    for step in wanted.steps:
        record = records[step.key]
        estimates = record.value("estimates", dict[str, dict[str, Any]])
        if estimates.keys() != step.score.columns.keys():
            raise CorruptObject(
                f"record {record.key} of {step}", "lacks an estimate", "delete it and run again"
            )
        for column, estimate in estimates.items():
            numbers = zip(_of_estimate(column), ESTIMATE, strict=True)
            written |= {name: estimate[number] for name, number in numbers}
        written[_key_column(step)] = step.key
    return written


def _columns(step: ScoreModels) -> list[str]:
    return [_key_column(step), *(name for c in step.score.columns for name in _of_estimate(c))]


def _of_estimate(column: str) -> list[str]:
    return [column, *(f"{column}_{number}" for number in ESTIMATE[1:])]


def _key_column(step: ScoreModels) -> str:
    return f"{_SCORED}{step.score.name}"


def _common(
    wanted: ScoreRow,
    sweep: Sweep,
    records: Mapping[str, Record],
    state: State,
    failure: str | None,
) -> dict[str, Scalar]:
    """The columns of every row."""
    by_kind = {
        of: [record for record in records.values() if (record.kind == Unlearn.name) == of]
        for of in (True, False)
    }
    hours = Hours(*(hours_for(wanted.name, by_kind[of]) for of in (True, False)))
    return row(
        wanted.subject, sweep.setting, (), sweep.objective, state=state, failure=failure,
        seconds=Seconds(), hours=hours, keys=Keys(),
        origin=origin_of([each for each in records.values() if each.kind != Samples.name]),
    )  # fmt: skip
