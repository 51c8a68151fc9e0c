"""The line of a plan about a GPU's memory."""

from __future__ import annotations

import re
from pathlib import Path

from tests.tiny import SWEEP, tiny_sweep
from unlearn_ray.reporting.plan_memory import memory_lines, study_memory, training_memory

SUPERVISED = SWEEP.replace("family: simclr", "family: supervised").replace(
    "  finetune: {epochs: 1, batch_size: 128, learning_rate: 0.01}\n",
    "  finetune: {epochs: 1, batch_size: 128, learning_rate: 0.01}\n"
    "  adversarial: {epochs: 1, batch_size: 128, draws: 2}\n"
    "  fisher: {alpha: 1.0e-6}\n",
)


def test_without_gpus_there_is_none(tmp_path: Path) -> None:
    assert memory_lines(tiny_sweep(tmp_path)) == []


def test_what_training_and_the_largest_trial_need(tmp_path: Path) -> None:
    resources = "resources: {training: {gpu: 1}, trial: {gpu: 0.25}}\n"
    sweep = tiny_sweep(tmp_path, SUPERVISED + resources)
    blank, line = memory_lines(sweep)
    gb = r"\d+\.\d GB"
    assert blank == ""
    assert re.fullmatch(
        rf"Memory of a GPU, about: {gb} for training, {gb} for a trial \(adversarial\)\.",
        line,
    )
    finetune, adversarial, fisher = (study_memory(study, sweep) for study in sweep.studies)
    # In units of a batch in bf16: one, 1 + 3 x 2, and none.
    batch = finetune - fisher
    assert batch > 0
    assert adversarial - fisher == 7 * batch
    assert training_memory(sweep) > batch
    graphs = tiny_sweep(
        tmp_path, SUPERVISED + "resources: {trial: {gpu: 1, graphs: true}, training: {gpu: 1}}\n"
    )
    assert study_memory(graphs.studies[0], graphs) - fisher == 2 * batch
    assert training_memory(graphs) == training_memory(sweep)
    only = tiny_sweep(tmp_path, SUPERVISED + "resources: {trial: {gpu: 1}}\n")
    assert "training" not in memory_lines(only)[1]


def test_each_view_of_an_image_counts(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    two, one = tiny_sweep(tmp_path), tiny_sweep(tmp_path / "one", SUPERVISED)
    assert (two.setting.family.views, one.setting.family.views) == (2, 1)
    assert training_memory(two) > 1.2 * training_memory(one)
