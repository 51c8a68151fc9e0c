"""What a sweep file may ask of samplers and pruners, and what is refused while planning."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny import SWEEP, tiny_sweep
from unlearn_ray.config.sweep_schema import Sweep
from unlearn_ray.core.errors import ConfigError
from unlearn_ray.studies.study import study_identity, study_key

SEARCHED = SWEEP.replace("learning_rate: 0.01", "learning_rate: {log_uniform: [0.01, 0.1]}")
CHOSEN = SWEEP.replace("learning_rate: 0.01", "learning_rate: {choice: [0.01, 0.1]}")
SEVERAL = "objective: [average_gap, unlearning_seconds]\n"
CONSTRAINED = "constraints: [test_accuracy_gap <= 1]\n"


def sweep(folder: Path, search: str, text: str = SEARCHED, more: str = "") -> Sweep:
    return tiny_sweep(folder, f"{text}search: {{{search}}}\n{more}")


def test_the_usual_ones_change_no_key(tmp_path: Path) -> None:
    def key(search: str) -> str:
        read = sweep(tmp_path, search)
        return study_key(read, read.studies[0])

    usual = key("trials: 20")
    assert key("sampler: tpe, pruner: percentile") == usual
    keys = [
        key(search)
        for search in (
            "sampler: random",
            "sampler: qmc",
            "sampler: {qmc: {scramble: true}}",
            "sampler: {tpe: {n_ei_candidates: 48}}",
            "pruner: none",
            "pruner: median",
            "sampler: optuna.samplers.TPESampler",
        )
    ]
    assert len({usual, *keys}) == 8
    read = sweep(tmp_path, "trials: 20")
    identity = study_identity(read, read.studies[0])
    assert set(identity["search"]) == {"seed", "startup", "keep", "window"}


def test_code_of_your_own_is_in_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    module = tmp_path / "my_samplers_of_a_test.py"

    def key(text: str) -> str:
        module.write_text(f"from optuna.samplers import RandomSampler\n{text}\n")
        sys.modules.pop(module.stem, None)
        read = sweep(tmp_path, f"sampler: {module.stem}.Mine")
        return study_key(read, read.studies[0])

    first = key("class Mine(RandomSampler):\n    step = 1")
    assert key("class Mine(RandomSampler):\n    '''Does the same.'''\n    step = 1") == first
    assert key("class Mine(RandomSampler):\n    step = 2") != first


@pytest.mark.parametrize(
    ("search", "text", "more", "message"),
    [
        ("sampler: tbe", SEARCHED, "", r"sampler = tbe: unknown sampler; did you mean tpe\?"),
        ("pruner: medain", SEARCHED, "", r"unknown pruner; did you mean median\?"),
        ("sampler: {}", SEARCHED, "", "not one name"),
        ("sampler: {tpe: {startup: 3}}", SEARCHED, "", r"tpe.startup: unknown option"),
        ("sampler: {tpe: {seed: 3}}", SEARCHED, "", "unknown option; remove it: the search"),
        ("sampler: {tpe: {n_startup_trials: many}}", SEARCHED, "", "change its options"),
        ("sampler: {random: {x: 1}}", SEARCHED, "", "unknown option; remove it"),
        ("sampler: {nsga2: {population_size: 1}}", SEARCHED, "", "change its options"),
        ("pruner: {percentile: {percentile: 3}}", SEARCHED, "", "set search.keep"),
        ("pruner: {median: {n_warmup_steps: -1}}", SEARCHED, "", "change its options"),
        ("sampler: no_such_module.X", SEARCHED, "", "cannot be imported"),
        ("sampler: optuna.samplers.NoSuch", SEARCHED, "", "cannot be imported"),
        ("sampler: optuna.pruners.NopPruner", SEARCHED, "", "not a sampler of Optuna"),
        ("sampler: optuna.create_study", SEARCHED, "", "not a class"),
        ("sampler: grid", SEARCHED, "", "endless values of learning_rate"),
        ("sampler: nsga2", SEARCHED, "", "first generation of 50 trials is drawn at random"),
        ("pruner: median", SEARCHED, SEVERAL, "it takes one objective"),
        ("pruner: hyperband", SEARCHED, CONSTRAINED, "it takes no constraints"),
        ("pruner: wilcoxon", SEARCHED, "", "before the last of 1 seed .* name 5 tuning seeds"),
    ],
)
def test_what_does_not_fit_is_refused_at_its_line(
    tmp_path: Path, search: str, text: str, more: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=rf"tiny.yaml:\d+: search: .*{message}"):
        sweep(tmp_path, search, text, more)


def test_cma_es_says_what_it_cannot_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.MonkeyPatch.context() as missing:
        missing.setitem(sys.modules, "cmaes", None)
        with pytest.raises(ConfigError, match="the package cmaes is not installed; pip install"):
            sweep(tmp_path, "sampler: cma_es")


def test_a_grid_ends_when_every_point_was_tried(tmp_path: Path) -> None:
    read = sweep(tmp_path, "trials: 20, sampler: grid", CHOSEN)
    assert read.trials(read.studies[0]) == 2
    fewer = sweep(tmp_path, "trials: 1, sampler: {grid: {}}", CHOSEN)
    assert fewer.trials(fewer.studies[0]) == 1
    other = sweep(tmp_path, "trials: 20", CHOSEN)
    assert other.trials(other.studies[0]) == 20
    fixed = sweep(tmp_path, "trials: 20, sampler: grid", SWEEP)
    assert fixed.trials(fixed.studies[0]) == 1


def test_every_sampler_and_pruner_takes_what_it_claims(tmp_path: Path) -> None:
    for search in (
        "sampler: tpe", "sampler: gp", "sampler: random", "sampler: qmc",
        "sampler: {nsga2: {population_size: 5}}", "sampler: {nsga3: {population_size: 5}}",
        "pruner: none", "pruner: percentile",
    ):  # fmt: skip
        sweep(tmp_path, search, CHOSEN, SEVERAL + CONSTRAINED)


def test_planning_without_a_name_imports_no_optuna(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(SEARCHED)
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from unlearn_ray.config.sweep_file import load_sweep\n"
        f"load_sweep(Path({str(path)!r}))\nassert 'optuna' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
