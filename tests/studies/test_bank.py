"""Banks of models on random masks, and the scores of many models: steps, rows and plans."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.tiny import SWEEP, finish_scores, runtime, score_rows, tiny_sweep
from unlearn_ray.config.sweep_schema import Sweep
from unlearn_ray.core.columns import column_of
from unlearn_ray.core.errors import ConfigError, DataError
from unlearn_ray.data.splits import Masks, masked_split, training_ids, validation_ids
from unlearn_ray.evidence.masks import FORGET, OUT, RETAIN, states
from unlearn_ray.reporting.plan_view import plan_view
from unlearn_ray.reporting.render import score_grid
from unlearn_ray.reporting.scores import score_lines
from unlearn_ray.reporting.table import Comparison
from unlearn_ray.scores.lira import Lira
from unlearn_ray.steps.kinds.observe import Observe
from unlearn_ray.steps.kinds.pretrain import Pretrain
from unlearn_ray.steps.kinds.retrain import Retrain
from unlearn_ray.steps.kinds.samples import Samples
from unlearn_ray.steps.runtime import Runtime
from unlearn_ray.storage.store import Store, open_store
from unlearn_ray.studies.bank import bank_models, failed_scores
from unlearn_ray.studies.plan import Plan, make_plan

TEXT = SWEEP.replace("family: simclr", "family: supervised")
AUDITED = 60
BANK = f"{TEXT}bank: {{models: 12, samples: {AUDITED}}}\nscores: [u_lira]\n"
OTHER = BANK.replace("fraction: 0.1", "fraction: 0.2").replace(
    "finetune: {epochs: 1, batch_size: 128, learning_rate: 0.01}",
    "neggrad: {epochs: 1, batch_size: 128}",
)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return tiny_sweep(tmp_path_factory.mktemp("sweep"), BANK)


@pytest.fixture(scope="module")
def trained(sweep: Sweep, tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    """A store with the bank and its scores, and nothing else."""
    here = runtime(tmp_path_factory.mktemp("store"))
    finish_scores(score_rows(sweep), sweep, here)
    return here


def planned(sweep: Sweep, store: Store) -> Plan:
    return make_plan(sweep, store)


def missing(sweep: Sweep, store: Store) -> Counter[str]:
    """Kinds of the bank's steps and scores that are still to be run."""
    plan = make_plan(sweep, store)
    of_bank = [each for each in plan.references if each.step.setting.masks is not None]
    steps = [*of_bank, *plan.scoring, *(s for study in plan.studies for s in study.scoring)]
    return Counter(each.step.name for each in steps if not each.stored)


def rows(store: Store) -> dict[str, dict[str, Any]]:
    return {row["row"]: row for row in store.read_rows().to_pylist() if row["purpose"] == "score"}


# Splits


def test_each_models_parts_are_as_its_states_say() -> None:
    labels = np.zeros(400, np.int64)
    masks, seed = Masks(samples=100), 1000
    audited = training_ids(400, 0.25, seed)[:100]
    of = states(8, 100, seed)
    for model in range(8):
        parts = masked_split(labels, 0.25, masks, seed, model)
        np.testing.assert_array_equal(parts.validation, validation_ids(400, 0.25, seed))
        assert set(parts.forget) == set(audited[of[model] == FORGET])
        assert set(parts.held_out) == set(audited[of[model] == OUT])
        unaudited = set(training_ids(400, 0.25, seed)[100:])
        assert set(parts.retain) == set(audited[of[model] == RETAIN]) | unaudited
        together = np.concatenate([parts.validation, parts.forget, parts.retain, parts.held_out])
        assert sorted(together) == list(range(400))
        np.testing.assert_array_equal(
            parts.unseen, np.concatenate([parts.validation, parts.held_out])
        )


def test_masks_that_leave_nothing_are_refused() -> None:
    labels = np.zeros(40, np.int64)
    with pytest.raises(DataError, match="leaves no others to train on: there are 30"):
        masked_split(labels, 10, Masks(samples=30), 0, 0)


def test_what_is_held_out_is_never_trained_on(
    sweep: Sweep, trained: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained_on: list[set[int]] = []

    def train(step: Pretrain, runtime: Runtime, ids: np.ndarray) -> None:
        trained_on.append(set(ids.tolist()))

    monkeypatch.setattr(Pretrain, "train", train)
    base = bank_models(sweep)[5]
    base.run(trained)
    base.same(Retrain).run(trained)
    parts = trained.split(base)
    assert trained_on[0] == set(parts.forget) | set(parts.retain)
    assert trained_on[1] == set(parts.retain)
    assert not trained_on[0] & set(parts.unseen)


# Scores


def naive_confidence(logits: np.ndarray, label: int) -> float:
    shifted = [math.exp(float(value) - float(logits.max())) for value in logits]
    others = sum(shifted) - shifted[label]
    return math.log(shifted[label]) - math.log(others)


def test_the_bank_is_assembled_as_by_ids(sweep: Sweep, trained: Runtime) -> None:
    (wanted,) = (row for row in score_rows(sweep) if row.subject.study == "finetune")
    (step,) = wanted.steps
    bank = step._bank(trained)
    inputs = step.inputs()
    labels = trained.data(sweep.setting.dataset, sweep.setting.family).train_labels.cpu().numpy()
    audited = training_ids(len(labels), sweep.setting.validation, 1000)[:AUDITED]
    np.testing.assert_array_equal(bank.classes, labels[audited])
    place = {int(sample): number for number, sample in enumerate(audited)}
    state_of = {"forget": FORGET, "retain": RETAIN, "validation": OUT}
    for number, model in enumerate(step.models):
        ids, of_set = trained.samples(model.same(Samples))
        for role, signal, unseen in (
            ("original", bank.original, bank.original_unseen),
            ("unlearned", bank.unlearned, bank.unlearned_unseen),
        ):
            observed = inputs[f"{number:04d} {role}"]
            assert isinstance(observed, Observe)
            said = trained.observation(observed).samples
            found = 0
            for part, state in state_of.items():
                for row, sample in enumerate(ids[part].tolist()):
                    if sample not in place:
                        continue
                    found += 1
                    at = place[sample]
                    assert bank.states[number, at] == state
                    expected = naive_confidence(said[part][row].numpy(), labels[sample])
                    assert signal[number, at] == pytest.approx(expected, rel=1e-4, abs=1e-4)
            assert found == AUDITED
            for row in (0, 7):
                label = int(of_set["test"][row])
                expected = naive_confidence(said["test"][row].numpy(), label)
                assert unseen[number, row] == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_rows_hold_each_estimate_with_its_null(sweep: Sweep, trained: Runtime) -> None:
    found = rows(trained.store)
    assert Counter(row["study"] for row in found.values()) == {
        "original": 1, "retrain": 1, "finetune": 1,
    }  # fmt: skip
    for row in found.values():
        assert (row["state"], row["seed"], row["replicate"]) == ("complete", 1000, 0)
        assert (row["score"], row["average_gap"]) == (None, None)
        for column in ("u_lira_forget_auc", "u_lira_retain_auc"):
            assert row[f"{column}_models"] == 12
            assert row[f"{column}_refused"] == ""
            assert row[f"{column}_null_low"] <= row[f"{column}_null"] <= row[f"{column}_null_high"]
            assert row[f"{column}_low"] <= row[column] <= row[f"{column}_high"]
        # 360 negatives cannot bear a rate of 0.1 %.
        assert row["u_lira_forget_tpr_at_0_1"] is None
        assert row["u_lira_forget_tpr_at_0_1_refused"]
        types = {"text": str, "integer": int, "number": float | int, "any": object}
        may = ("every row", "score", "not failed", "trials")
        for name, value in row.items():
            if name != "row" and value is not None:
                declared = column_of(name)
                assert isinstance(value, types[declared.type]), name
                assert declared.filled in may, name
    assert make_plan(sweep, trained.store).scores == ()


def test_scoring_again_gives_the_same(sweep: Sweep, trained: Runtime) -> None:
    for wanted in score_rows(sweep):
        (step,) = wanted.steps
        record = trained.store.record(step.name, step.key)
        assert record is not None
        assert step.run(trained).result["estimates"] == record.value("estimates", dict[str, Any])


# Sharing and growing


def test_a_bank_serves_other_methods_and_forget_sets(
    sweep: Sweep, trained: Runtime, tmp_path: Path
) -> None:
    other = tiny_sweep(tmp_path, OTHER)
    assert other.setting.forget_set != sweep.setting.forget_set
    assert [one.key for one in bank_models(other)] == [one.key for one in bank_models(sweep)]
    assert missing(sweep, trained.store) == Counter()
    assert missing(other, trained.store) == {"unlearn": 12, "observe": 12, "score": 1}
    text = plan_view(planned(other, trained.store), "store")
    assert "  neggrad: after its study, 12 unlearn, 12 observe, 1 score to run" in text
    assert "  24 observe   in the store" in text


def test_a_plan_says_what_a_bank_costs_before_anything_is_trained(
    sweep: Sweep, tmp_path: Path
) -> None:
    text = plan_view(planned(sweep, open_store(str(tmp_path / "empty"))), "store")
    _, _, of_bank = text.partition("Bank of 12 models")
    lines = of_bank.split("\n\n")[0].splitlines()
    assert (
        lines[0]
        == f" on random masks of {AUDITED} samples (seed 1000), for all methods and sweeps:"
    )
    assert sorted(line.split("  ")[1] for line in lines[1:]) == [
        "12 pretrain", "12 retrain", "12 samples", "24 observe",
    ]  # fmt: skip
    assert all(line.endswith("  to run") for line in lines[1:])
    assert "the reference models: 2 score to run" in text
    assert "finetune: after its study, 12 unlearn, 12 observe, 1 score to run" in text
    # Few lines, whatever the number of models.
    larger = replace(sweep, bank=replace(sweep.bank, models=64))  # type: ignore[type-var]
    other = plan_view(planned(larger, open_store(str(tmp_path / "empty"))), "store")
    assert other.count("\n") == text.count("\n")


def test_a_larger_bank_trains_only_what_it_lacks_and_its_rows_grow(
    sweep: Sweep, trained: Runtime
) -> None:
    before = rows(trained.store)
    larger = replace(sweep, bank=replace(sweep.bank, models=16))  # type: ignore[type-var]
    # Four of each; every kind of model is scored anew.
    assert missing(larger, trained.store) == {
        "pretrain": 4, "retrain": 4, "samples": 4, "observe": 12, "unlearn": 4, "score": 3,
    }  # fmt: skip
    assert len(planned(larger, trained.store).scores) == 2
    text = plan_view(planned(larger, trained.store), "store")
    assert "16 pretrain  12 in the store, 4 to run" in text
    finish_scores(score_rows(larger), larger, trained)
    after = rows(trained.store)
    assert after.keys() == before.keys()
    for name, row in after.items():
        assert row["u_lira_forget_auc_models"] == 16
        assert row["key_score_u_lira"] != before[name]["key_score_u_lira"]
    assert missing(larger, trained.store) == Counter()

    scores = replace(larger, scores=(*larger.scores, Lira()))
    assert missing(scores, trained.store) == {"score": 1}  # it is about the originals alone
    finish_scores(score_rows(scores), scores, trained)
    for name, row in rows(trained.store).items():
        assert row["lira_auc_models"] == (16 if row["study"] == "original" else None)
        assert row["u_lira_forget_auc"] == after[name]["u_lira_forget_auc"]


def test_models_that_could_not_be_unlearned_have_a_failed_row(sweep: Sweep, tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    (wanted,) = (row for row in score_rows(sweep) if row.subject.study == "finetune")
    failed_scores(wanted, sweep, "loss is nan", store)
    (row,) = rows(store).values()
    assert (row["state"], row["failure"], row["study"]) == ("failed", "loss is nan", "finetune")
    assert wanted.is_in({wanted.name: row})
    # What stands is never said otherwise.
    failed_scores(wanted, sweep, "another reason", store)
    assert rows(store) == {wanted.name: row}


# The file


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scores: [u_lira]", r"scores.*u_lira needs 12 models or more, and bank.models is 0"),
        (
            "bank: {models: 8, samples: 60}\nscores: [u_lira]",
            r"scores.*u_lira needs 12 models or more, and bank.models is 8",
        ),
        ("scores: [klom]", r"scores.*klom needs 20 models or more, and seeds.replicates is 1"),
        ("bank: {models: 10}\nscores: [u_lira]", r"bank.models = 10"),
        (
            "bank: {models: 12, samples: 60, seed: 1}\nscores: [u_lira]",
            r"bank: its seed 1 is a tuning or reporting seed",
        ),
        (
            "bank: {models: 12, samples: 5000}\nscores: [u_lira]",
            r"bank: audits 5,000 samples of the [\d,]+ that are not for validation",
        ),
        ("bank: {models: 64, samples: 8}\nscores: [u_lira]", r"bank: of 8 audited samples, model"),
        ("scores: [u_lyra]", r"scores\[0\] = u_lyra: unknown score; did you mean u_lira"),
    ],
)
def test_banks_and_scores_that_do_not_fit_are_refused_at_their_line(
    text: str, message: str, tmp_path: Path
) -> None:
    base = TEXT
    if "seeds:" in text:
        base = TEXT[: TEXT.index("seeds:")]
    with pytest.raises(ConfigError, match=rf"tiny.yaml:\d+: {message}"):
        tiny_sweep(tmp_path, f"{base}{text}\n")


def test_a_table_prints_every_estimate_beside_its_null(trained: Runtime) -> None:
    held = {row["study"]: row for row in rows(trained.store).values()}
    frame = pd.DataFrame(list(held.values()))
    references = {"original": ("", ""), "retrain": ("", "")}
    lines = score_lines(frame, references)
    assert {line.study for line in lines} == references.keys()
    for line in lines:
        row = held[line.study]
        for name, value in asdict(line.estimate).items():
            # A refused estimate may have no column.
            stored = row.get(line.column if name == "value" else f"{line.column}_{name}")
            assert value == stored or (stored is None and math.isnan(value))
    head, null, *studies, models = score_grid(Comparison("s", "p", {}, (), (), None, lines))
    printed = head.index("U-LiRA forget, AUC")
    number = f"{held['original']['u_lira_forget_auc_models']}"
    assert (null[0], models[0], models[printed]) == ("null", "models", number)
    assert [study for study, *_ in studies] == ["original", "retrain"]
    for study, *cells in studies:
        row = held[study]
        low, high = (row[f"u_lira_forget_auc_{end}"] for end in ("low", "high"))
        expected = f"{row['u_lira_forget_auc']:.2f} [{low:.2f}, {high:.2f}]"
        assert cells[printed - 1] == expected
