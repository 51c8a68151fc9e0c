"""ROC curves of the attacks on banks of models, as their scores left them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from unlearn_ray.core.errors import CorruptObject, MissingObject
from unlearn_ray.core.runs import ORIGINAL, RETRAIN
from unlearn_ray.report.drawing import percent
from unlearn_ray.report.figure import Figure
from unlearn_ray.report.observed import Arrays, left_out
from unlearn_ray.report.rates import Rates, chance, drawn_rates, panel, panels, too_few
from unlearn_ray.reporting.scores import score_headers
from unlearn_ray.storage import tensors

if TYPE_CHECKING:
    from unlearn_ray.report.evidence import SweepEvidence
    from unlearn_ray.storage.store import Record, Store

_SCORED = "key_score_"
_FPR, _TPR = "_fpr", "_tpr"
# Models of a block of a bank, in which each audited sample is forgotten once and unseen twice.
_BLOCK = 4
# Of an attack's rates in percent, by false-positive rate.
_COLUMNS = {0.01: "tpr_at_1", 0.001: "tpr_at_0_1"}
_CAPTION = (
    "All audited samples under all models of the bank make one curve. At each rate alone the band "
    "holds 95 % of curves by chance (so about a third of them leave it somewhere), if samples were "
    "independent; nulls are those of the same attack where states of samples were permuted."
)


@dataclass(frozen=True)
class _Scored:
    """One score of one kind of model: its record, its curves, and the samples behind them."""

    model: str
    record: Record
    arrays: Arrays
    positives: int
    negatives: int


def bank_curves(evidence: SweepEvidence) -> list[Figure]:
    """One figure for each attack, with a panel for each study's winner."""
    missing: dict[str, list[str]] = {}
    scored = list(_scored(evidence, missing))
    attacks = dict.fromkeys(
        name.removesuffix(_FPR)
        for one in scored
        for name in one.arrays
        if name.endswith(_FPR) and f"{name.removesuffix(_FPR)}{_TPR}" in one.arrays
    )
    of_attacks = {
        attack: {one.model: one for one in scored if f"{attack}{_FPR}" in one.arrays}
        for attack in attacks
    }
    return [_figure(attack, of, left_out(missing)) for attack, of in of_attacks.items()]


def _scored(evidence: SweepEvidence, missing: dict[str, list[str]]) -> Iterator[_Scored]:
    """What the score rows of the table's models name, the newest of each; the first seed's."""
    store, rows = evidence.store, evidence.rows
    comparison = evidence.comparison
    columns = [name for name in rows.columns if name.startswith(_SCORED)]
    if comparison is None or not columns:
        return
    winners = {ORIGINAL: ("", ""), RETRAIN: ("", "")} | {
        line.own_name: (line.study_key or "", line.point or "")
        for line in comparison.lines
        if line.knee is not False and line.study_key
    }
    of_scores = rows[rows["purpose"] == "score"].sort_values("created")
    for name, wanted in winners.items():
        own = of_scores[of_scores["study"] == name]
        known = zip(own["study_key"], own["point"], strict=True)
        own = own[[pair == wanted for pair in known]]
        if not len(own):
            continue
        first = own[own["seed"] == own["seed"].min()]
        keys = [str(key) for column in columns for key in first[column].dropna()[-1:]]
        for record in store.read_records(("score", key) for key in keys).values():
            if tensors.ARRAYS not in record.files:
                continue
            try:
                yield _read(name, record, store)
            except (MissingObject, CorruptObject) as error:
                missing.setdefault(name, []).append(f"{error.subject}: {error.reason}")


def _read(model: str, record: Record, store: Store) -> _Scored:
    arrays = tensors.unpack_arrays(store.read_artifact(record, tensors.ARRAYS))
    samples = sorted(role for role in record.inputs if role.endswith(" samples"))
    block = samples[:_BLOCK]
    found = store.read_records(("samples", record.inputs[role]) for role in block)
    if len(found) < _BLOCK:
        raise MissingObject(
            f"score {record.key}", "the sets of its models are gone", "run the sweep again"
        )
    audited = sum(each.value("counts", dict[str, int])["forget"] for each in found.values())
    blocks = len(samples) // _BLOCK
    return _Scored(model, record, arrays, blocks * audited, 2 * blocks * audited)


def curve_at(arrays: Arrays, attack: str, rates: Rates) -> Rates:
    """The largest true-positive rate of the curve at each false-positive rate, or below it."""
    fpr, tpr = (np.asarray(arrays[f"{attack}{kind}"]) for kind in (_FPR, _TPR))
    return np.asarray(tpr[np.searchsorted(fpr, rates * (1 + 1e-12), side="right") - 1])


def _figure(attack: str, models: Mapping[str, _Scored], rest: str) -> Figure:
    first = next(iter(models.values()))
    negatives = min(one.negatives for one in models.values())
    rates = drawn_rates(negatives)
    curves = {name: curve_at(one.arrays, attack, rates) for name, one in models.items()}
    studies = [name for name in curves if name not in (ORIGINAL, RETRAIN)]
    kept = {letter: curves[of] for letter, of in (("o", ORIGINAL), ("r", RETRAIN)) if of in curves}
    shown: dict[str, Mapping[str, Rates]] = {
        name: {**kept, "u": curves[name]} for name in studies
    } or {"before unlearning": kept}
    band = chance(first.positives, negatives, rates)
    rows: list[dict[str, Any]] = [
        row for name, of in shown.items() for row in panel(name, of, rates, band, first.positives)
    ]
    letters: Sequence[str] = [*kept, *(["u"] if studies else [])]
    column = f"{attack}_auc"
    header = score_headers([column]).get(column, attack).removesuffix(", AUC")
    return Figure(
        name=f"curve-{attack.replace('_', '-')}",
        title=f"ROC curve of {header}",
        caption=(
            f"{_CAPTION} {_stated(attack, models)}{too_few(negatives)} "
            f"{first.positives:,} positives, {negatives:,} negatives.{rest}"
        ),
        chart=panels(rows, letters, list(shown)),
    )


def _stated(attack: str, models: Mapping[str, _Scored]) -> str:
    """The rates that the score states, with their nulls."""
    sentences = []
    for bound, column in _COLUMNS.items():
        told = {
            name: one.record.result["estimates"].get(f"{attack}_{column}")
            for name, one in models.items()
        }
        values = [
            f"{name} {percent(of['value'] / 100)} "
            f"(null {percent(of['null_low'] / 100)} to {percent(of['null_high'] / 100)})"
            for name, of in told.items()
            if of and not of["refused"]
        ]
        if values:
            sentences.append(
                f"True-positive rate at {percent(bound)} false positives: {', '.join(values)}."
            )
    return " ".join(sentences)
