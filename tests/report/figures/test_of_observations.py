"""Figures of observations: their numbers against second computations, and what is missing."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.report.finished import (
    copied_to,
    copy_of,
    evidence,
    observed_store,
    remove_observations,
    rows_of,
)
from unlearn_ray.core.runs import ORIGINAL, RETRAIN
from unlearn_ray.metrics.cka import linear_cka
from unlearn_ray.report.contents import Draw
from unlearn_ray.report.evidence import SweepEvidence, sweep_evidence
from unlearn_ray.report.figure import Figure
from unlearn_ray.report.figures.alignment_matrices import alignment_matrices
from unlearn_ray.report.figures.attack_curves import attack_curves
from unlearn_ray.report.figures.block_cka import block_cka
from unlearn_ray.report.figures.class_predictions import class_predictions
from unlearn_ray.report.figures.confidence_histograms import bin_edges, confidence_histograms
from unlearn_ray.report.figures.loss_curves import loss_curves
from unlearn_ray.report.figures.sample_distances import sample_distances, thinned
from unlearn_ray.report.page import chart_spec
from unlearn_ray.report.rates import chance
from unlearn_ray.storage.curves import loss_curve
from unlearn_ray.storage.observations import OBSERVED, unpack
from unlearn_ray.storage.store import Store, open_store
from unlearn_ray.storage.tensors import ARRAYS, unpack_tensors

DRAWS: tuple[Draw, ...] = (
    alignment_matrices,
    attack_curves,
    block_cka,
    class_predictions,
    confidence_histograms,
    loss_curves,
    sample_distances,
)
STUDIES = ("finetune", "away")
LETTERS = {"o": ORIGINAL, "r": RETRAIN}


def figure(draw: Draw, name: str, told: SweepEvidence | None = None) -> Figure:
    (found,) = (each for each in draw(told or evidence()) if each.name == name)
    return found


def keys_of(told: SweepEvidence, model: str) -> list[str]:
    """Keys of the steps that trained a model's replicates, from the rows alone."""
    column = {ORIGINAL: "key_original", RETRAIN: "key_retrained"}.get(model, "key_unlearn")
    rows = told.rows[(told.rows["study"] == model) & (told.rows["seed"] == 1)]
    return [str(key) for key in rows.sort_values("replicate")[column]]


def stored(store: Store, kind: str, wanted: Any) -> Any:
    """The one record of a kind that `wanted` holds for."""
    records = (store.record(kind, key) for key in store.records(kind))
    (found,) = (record for record in records if record is not None and wanted(record))
    return found


def logits_of(told: SweepEvidence, model: str) -> list[dict[str, torch.Tensor]]:
    found: list[dict[str, torch.Tensor]] = []
    for key in keys_of(told, model):
        record = stored(
            told.store,
            "observe",
            lambda one, key=key: (
                one.inputs["model"] == key and one.config["quantity"]["name"] == "outputs"
            ),
        )
        columns = unpack(told.store.read_artifact(record, OBSERVED), key)
        found.append({str(part): of["value"].double() for part, of in columns.items()})
    return found


def labels_of(told: SweepEvidence) -> dict[str, list[int]]:
    record = stored(told.store, "samples", lambda one: one.config["seed"] == 1)
    columns = unpack(told.store.read_artifact(record, OBSERVED), "samples")
    return {part: of["label"].tolist() for part, of in columns.items()}


def confidences(told: SweepEvidence, model: str, part: str) -> list[list[float]]:
    """Of each replicate, sample by sample."""
    of_runs = []
    for logits in logits_of(told, model):
        values = []
        for row, label in zip(logits[part].tolist(), labels_of(told)[part], strict=True):
            others = [value for place, value in enumerate(row) if place != label]
            largest = max(others)
            rest = largest + math.log(sum(math.exp(value - largest) for value in others))
            values.append(row[label] - rest)
        of_runs.append(values)
    return of_runs


@pytest.mark.parametrize("part", ["forget", "test", "retain"])
def test_histograms_count_the_samples_of_all_replicates(part: str) -> None:
    told = evidence()
    rows = rows_of(figure(confidence_histograms, "confidence-histograms", told))
    edges = bin_edges([told.observations.outputs(name) for name in (ORIGINAL, RETRAIN)])
    for study in STUDIES:
        for letter, model in {**LETTERS, "u": study}.items():
            pooled = [value for run in confidences(told, model, part) for value in run]
            counts = Counter(
                min(max(sum(value >= edge for edge in edges) - 1, 0), len(edges) - 2)
                for value in pooled
            )
            drawn = [row[letter] for row in rows if (row["s"], row["p"]) == (study, part)]
            shares = [100 * counts[place] / len(pooled) for place in range(len(edges) - 1)]
            assert drawn == pytest.approx(shares, rel=0.01)
            assert sum(drawn) == pytest.approx(100, abs=0.5)


def test_curves_are_shares_above_thresholds_and_the_band_is_that_of_retrained_models() -> None:
    told = evidence()
    rows = rows_of(figure(attack_curves, "attack-curves", told))
    labels = labels_of(told)
    known = set(labels["forget"])

    def rate(model: str, bound: float) -> list[float]:
        found = []
        pairs = zip(
            confidences(told, model, "forget"), confidences(told, model, "test"), strict=True
        )
        for members, every in pairs:
            unseen = [c for c, label in zip(every, labels["test"], strict=True) if label in known]
            allowed = bound * len(unseen) + 1e-9
            thresholds = [t for t in members if sum(u >= t for u in unseen) <= allowed]
            found.append(max((sum(m >= t for m in members) for t in thresholds), default=0) / 60)
        return found

    for study in STUDIES:
        drawn = [row for row in rows if row["s"] == study]
        grid = np.geomspace(10 / 360, 1, len(drawn))
        for row, bound in [*zip(drawn, grid, strict=True)][::6]:
            assert row["x"] == pytest.approx(bound, rel=0.01)
            for letter, model in {**LETTERS, "u": study}.items():
                expected = np.mean(rate(model, bound))
                assert row.get(letter, 0) == pytest.approx(expected, rel=0.01, abs=0.01)
            low, high = min(rate(RETRAIN, bound)), max(rate(RETRAIN, bound))
            assert (row["l"], row["h"]) == pytest.approx((max(low, 0.5 / 60), high), rel=0.01)


def test_rates_that_too_few_samples_bear_are_refused_in_words() -> None:
    caption = figure(attack_curves, "attack-curves").caption
    assert "True-positive rate at 10 % false positives: original" in caption
    assert "True-positive rate at 1 %" not in caption
    assert "360 samples never seen, too few for rates at 0.1 % and 1 %" in caption
    assert "begin at 2.8 %" in caption


def test_chance_is_the_distribution_of_ranks_of_like_samples() -> None:
    drawn = np.random.default_rng(0)
    rates = np.array([0.1, 0.3, 1.0])
    low, high = chance(15, 40, rates)
    samples = drawn.random((20_000, 55))
    unseen = np.sort(samples[:, 15:], axis=1)[:, ::-1]
    for place, allowed in enumerate((4, 12)):
        found = (samples[:, :15] > unseen[:, [allowed]]).mean(axis=1)
        inside = ((found >= low[place] - 1e-9) & (found <= high[place] + 1e-9)).mean()
        assert 0.95 <= inside <= 0.99  # a discrete distribution: at least 95 %
    assert (low[2], high[2]) == (1, 1)


def test_distances_are_those_of_all_pairs_of_models() -> None:
    told = evidence()
    floor = figure(sample_distances, "sample-distances-floor", told)
    before = figure(sample_distances, "sample-distances-before", told)

    def probabilities(model: str) -> list[list[list[float]]]:
        return [of["forget"].softmax(dim=1).tolist() for of in logits_of(told, model)]

    def distance(p: list[float], q: list[float]) -> float:
        middle = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
        halves = (
            sum(a * math.log2(a / m) for a, m in zip(each, middle, strict=True) if a) / 2
            for each in (p, q)
        )
        return math.sqrt(max(sum(halves), 0))

    retrained = probabilities(RETRAIN)
    places = thinned(60).tolist()
    among = [distance(retrained[0][n], retrained[1][n]) for n in places]
    for study in (ORIGINAL, *STUDIES):
        models = probabilities(study)
        up = [
            np.mean(
                [
                    distance(pair[0][n], pair[1][n])
                    for pair in ((models[0], retrained[1]), (models[1], retrained[0]))
                ]
            )
            for n in places
        ]
        drawn = [row for row in rows_of(floor) if row["s"] == study]
        assert [row["x"] for row in drawn] == pytest.approx(among, rel=0.01, abs=1e-3)
        assert [row["y"] for row in drawn] == pytest.approx(up, rel=0.01, abs=1e-3)
        above = np.mean(np.array(up) > np.array(among))
        assert f"{study} {100 * above:.2g} %" in floor.caption
        if study != ORIGINAL:
            after = [row["y"] for row in rows_of(before) if row["s"] == study]
            assert after == pytest.approx(up, rel=0.01, abs=1e-3)


@pytest.mark.parametrize("part", ["forget", "test"])
def test_cells_are_shares_of_the_true_class(part: str) -> None:
    told = evidence()
    rows = rows_of(figure(class_predictions, f"class-predictions-{part}", told))
    labels = labels_of(told)[part]
    for model in (ORIGINAL, RETRAIN, *STUDIES):
        counts: Counter[tuple[int, int]] = Counter()
        for logits in logits_of(told, model):
            counts.update(zip(labels, logits[part].argmax(dim=1).tolist(), strict=True))
        of_class = Counter(labels)
        shares = {
            pair: 100 * count / (2 * of_class[pair[0]])
            for pair, count in counts.items()
            if 100 * count / (2 * of_class[pair[0]]) >= 0.5
        }
        drawn = {(row["t"], row["p"]): row["v"] for row in rows if row["s"] == model}
        assert drawn.keys() == shares.keys()
        assert drawn == pytest.approx(shares, rel=0.01)


def test_matrices_are_those_that_the_metric_left() -> None:
    told = evidence()
    rows = rows_of(figure(alignment_matrices, "alignment-matrices", told))
    for study in STUDIES:
        own = told.rows[(told.rows["study"] == study) & (told.rows["seed"] == 1)]
        key = own.sort_values("replicate")["key_measure_alignment_matrices"].iloc[0]
        record = told.store.record("measure", key)
        assert record is not None
        arrays, _ = unpack_tensors(told.store.read_artifact(record, ARRAYS))
        for letter, name in {"b": "am_before", "a": "am_after", "g": "agm"}.items():
            drawn = [row[letter] for row in rows if row["s"] == study]
            assert drawn == pytest.approx(arrays[name].flatten().tolist(), rel=0.06, abs=1e-3)


def test_cka_is_the_metrics_and_its_floor_that_of_retrained_models() -> None:
    told = evidence()
    rows = rows_of(figure(block_cka, "block-cka", told))
    features = [
        unpack_tensors(
            told.store.read_artifact(
                stored(
                    told.store,
                    "observe",
                    lambda one, key=key: (
                        one.inputs["model"] == key
                        and one.config["quantity"]["name"] == "block_features"
                    ),
                ),
                ARRAYS,
            )
        )[0]
        for key in keys_of(told, RETRAIN)
    ]
    for study in STUDIES:
        for part in ("forget", "retain", "test"):
            drawn = [row for row in rows if (row["s"], row["p"]) == (study, part)]
            names = sorted(name for name in features[0] if name.startswith(part))
            floor = [float(linear_cka(features[0][n], features[1][n])) for n in names]
            assert [row["r"] for row in drawn] == pytest.approx(floor, rel=0.01)
            mean = told.rows[(told.rows["study"] == study) & (told.rows["seed"] == 1)]
            gaps = np.mean([row["u"] - row["o"] for row in drawn])
            assert gaps == pytest.approx(mean[f"cka_{part}"].mean(), abs=2e-3)


def test_losses_are_means_of_those_that_steps_left() -> None:
    told = evidence()
    training, unlearning = loss_curves(told)
    for figure_, models in ((training, (ORIGINAL, RETRAIN)), (unlearning, STUDIES)):
        for model in models:
            curve = loss_curve(told.store, keys_of(told, model)[0])
            drawn = [row for row in rows_of(figure_) if row["s"] == model]
            assert 1 <= len(drawn) <= 60
            assert drawn[-1]["x"] == curve["iteration"].max()
            group = math.ceil(len(curve) / 60)
            first = sum(curve["loss"][:group]) / group
            assert drawn[0]["y"] == pytest.approx(first, rel=0.01)


@pytest.mark.parametrize("where", ["local", "s3"])
def test_removed_observations_are_left_out_with_a_sentence(
    where: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if where == "local":
        store = copy_of(observed_store(), tmp_path)
    else:
        server = request.getfixturevalue("s3_server")
        store = copied_to(server.store_url("reports"), observed_store())
    told = sweep_evidence(store)
    assert remove_observations(store, "outputs", {*keys_of(told, "away")}) == 2
    shown = figure(confidence_histograms, "confidence-histograms", told)
    assert {row["s"] for row in rows_of(shown)} == {"finetune"}
    assert "Left out: away (" in shown.caption
    assert "no object artifacts/observe/" in shown.caption
    assert {row["s"] for row in rows_of(figure(attack_curves, "attack-curves", told))} == {
        "finetune"
    }


def test_without_any_artifact_there_are_losses_and_no_error(tmp_path: Path) -> None:
    """Records hold them."""
    store = copy_of(observed_store(), tmp_path)
    for kind in ("observe", "measure", "pretrain", "retrain", "unlearn"):
        for key in store.records(kind):
            record = store.record(kind, key)
            assert record is not None
            store.remove_artifact(record.files)
    told = sweep_evidence(store)
    drawn = [each.name for draw in DRAWS for each in draw(told)]
    assert drawn == ["loss-training", "loss-unlearning"]


def test_altered_observations_are_left_out(tmp_path: Path) -> None:
    store = copy_of(observed_store(), tmp_path)
    told = sweep_evidence(store)
    key = keys_of(told, "away")[0]
    record = stored(
        store,
        "observe",
        lambda one: one.inputs["model"] == key and one.config["quantity"]["name"] == "outputs",
    )
    name = record.files[OBSERVED].name
    store.objects.write(name, store.objects.read(name)[:-1] + b"x")
    caption = figure(confidence_histograms, "confidence-histograms", told).caption
    assert "was altered (SHA-256 differs)" in caption


def test_a_store_without_rows_has_no_figures(tmp_path: Path) -> None:
    store = copy_of(observed_store(), tmp_path)
    for name in store.objects.names("rows/"):
        store.objects.delete(name)
    told = sweep_evidence(open_store(store.url))
    assert [each for draw in DRAWS for each in draw(told)] == []


def test_ten_studies_take_at_most_400_kb() -> None:
    told = evidence()
    models = told.observations._models
    more = {f"study_number_{n}": models["finetune"] for n in range(8)}
    told.observations._models = {**models, **more}
    assert len(told.observations.studies) == 10
    specs = [chart_spec(each) for draw in DRAWS for each in draw(told)]
    sizes = {spec["description"][:30]: len(json.dumps(spec).encode()) for spec in specs}
    assert sum(sizes.values()) < 400_000, sizes
