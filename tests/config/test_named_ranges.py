"""Ranges by name, `from`, and the short forms of `methods`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from unlearn_ray.config.describe import describe_parts
from unlearn_ray.config.sweep_file import load_sweep
from unlearn_ray.config.sweep_schema import Sweep
from unlearn_ray.core.errors import ConfigError
from unlearn_ray.core.ranges import Range, grid, integer, log_uniform
from unlearn_ray.core.registry import find, parts
from unlearn_ray.data.forget_sets.classes import Classes
from unlearn_ray.families.supervised import Supervised
from unlearn_ray.methods.base import Method
from unlearn_ray.reporting.methods_page import methods_page
from unlearn_ray.reporting.plan_view import plan_view
from unlearn_ray.storage.store import open_store
from unlearn_ray.studies.plan import make_plan
from unlearn_ray.studies.study import study_key

HEAD = """\
dataset: {digits: {image_size: 8}}
forget_set: {classes: {classes: ["7"]}}
model: {resnet8: {width: 8}}
family: supervised
seeds: {tuning: [0], reporting: [1]}
"""
SUPERVISED = [
    name
    for name, method in parts(Method).items()
    if method.unsupported(Supervised(), Classes(classes=("7",))) is None
    and not method.reads_weights
]
Load = Callable[..., Sweep]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load(methods: str, *sets: str) -> Sweep:
        path = tmp_path / "x.yaml"
        path.write_text(f"{HEAD}methods: {methods}\n")
        return load_sweep(path, sets, str(tmp_path / "store"))

    return load


def test_every_method_that_can_stand_alone_has_recommended_ranges() -> None:
    assert len(SUPERVISED) > 15
    for name, method in parts(Method).items():
        if method.reads_weights:
            continue  # it has nothing to search
        try:
            method()
        except ValueError:
            continue  # its required fields are its own business
        assert method.recommended, name


def test_every_supervised_method_plans_with_its_recommended_ranges(
    load: Load, tmp_path: Path
) -> None:
    sweep = load(f"[{', '.join(SUPERVISED)}]")
    assert [study.name for study in sweep.studies] == SUPERVISED
    for study in sweep.studies:
        assert (study.fixed, study.space) == ({}, study.method.recommended)
    store = open_store(sweep.store)
    plan = make_plan(sweep, store)
    assert sum(one.wanted for one in plan.studies) == sweep.search.trials * len(SUPERVISED)
    view = plan_view(plan, store.url)
    scrub = view[view.index("  scrub: 20 trials") :].splitlines()
    assert scrub[1:4] == [
        "    learning_rate:  {log_uniform: [1e-05, 0.01]}",
        "    alpha:          {log_uniform: [0.001, 1]}",
        "    msteps:         {int: [1, 3]}",
    ]


def test_all_forms_of_a_name_say_the_same(load: Load) -> None:
    scrub = find(Method, "scrub")
    written_out = "{scrub: {alpha: {log_uniform: [1e-3, 1]}, msteps: {int: [1, 3]},"
    written_out += " learning_rate: {log_uniform: [1e-5, 1e-2]}}}"
    forms = ("[scrub]", "{scrub: recommended}", "{scrub: {from: recommended}}", written_out)
    sweeps = [load(form) for form in forms]
    assert all(sweep.studies[0].space == scrub.recommended for sweep in sweeps)
    assert len({study_key(sweep, sweep.studies[0]) for sweep in sweeps}) == 1


def test_fields_that_are_not_listed_stay_at_their_defaults(load: Load) -> None:
    (study,) = load("{scrub: {alpha: recommended, epochs: 5}}").studies
    assert (study.fixed, study.space) == ({"epochs": 5}, {"alpha": log_uniform(1e-3, 1)})


def test_a_papers_ranges_fix_what_the_paper_fixed(load: Load) -> None:
    (study,) = load("{l1_sparsity: muc}").studies
    assert study.fixed == {"epochs": 10, "learning_rate": 0.006}
    assert study.space == {"coefficient": log_uniform(1e-6, 1e-3)}


def test_ones_own_fields_replace_those_of_a_name(load: Load) -> None:
    methods = "{few: {scrub: {from: paper, epochs: 3, msteps: recommended}}}"
    (study,) = load(methods).studies
    assert (study.name, study.fixed) == ("few", {"epochs": 3})
    assert study.space["msteps"] == integer(1, 3)
    assert study.space["alpha"] == grid(0.001, 0.5)


def test_overrides_reach_into_short_forms(load: Load) -> None:
    (scrub, salun) = load("[scrub, salun]", "methods.scrub.epochs=5", "methods.salun=").studies
    assert scrub.fixed == {"epochs": 5}
    assert scrub.space.keys() == {"learning_rate", "alpha", "msteps"}
    assert salun.space == {}
    (inner,) = load("{few: {scrub: paper}}", "methods.few.scrub.epochs=2").studies
    assert inner.fixed == {"epochs": 2}


def test_a_field_with_a_value_of_that_name_has_the_value(load: Load) -> None:
    (study,) = load("{influence: {inverse: published, alpha: recommended}}").studies
    assert study.fixed == {"inverse": "published"}


REFUSED = {
    "no such name": ("{scrub: papre}", "scrub has no ranges of this name"),
    "no range of the field": (
        "{scrub: {gamma: recommended}}",
        "scrub has no recommended range of gamma; it has those of learning_rate, alpha, msteps",
    ),
    "listed twice": ("[scrub, scrub]", "listed twice"),
    "a mapping in a list": ("[{scrub: {epochs: 3}}]", "a list of methods has names only"),
    "a typo in a list": ("[scrubb]", "unknown method; did you mean scrub?"),
    "no method": ("[]", "no methods"),
    "no such file": ("{scrub: {from: none.yaml}}", "no such file"),
    "a number": ("{scrub: {from: 3}}", "scrub has no ranges of this name"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_stands_for_nothing_is_refused_with_its_line(case: str, load: Load) -> None:
    methods, reason = REFUSED[case]
    with pytest.raises(ConfigError, match=r"x.yaml:6: methods") as caught:
        load(methods)
    assert reason in str(caught.value)


def test_a_study_takes_the_values_of_another_file(load: Load, tmp_path: Path) -> None:
    other = tmp_path / "best.yaml"
    other.write_text("methods: {scrub: {epochs: 4, alpha: 0.25}, finetune: {epochs: 2}}\n")
    (study,) = load(f"{{scrub: {{from: {other}, gamma: 0.5}}}}").studies
    assert study.fixed == {"epochs": 4, "alpha": 0.25, "gamma": 0.5}
    (named,) = load(f"{{tuned: {{scrub: {{from: {other}, alpha: {{uniform: [0, 1]}}}}}}}}").studies
    assert (named.fixed, named.space) == ({"epochs": 4}, {"alpha": Range("uniform", 0.0, 1.0)})


def test_of_several_studies_of_a_file_the_one_of_the_same_name_is_taken(
    load: Load, tmp_path: Path
) -> None:
    other = tmp_path / "best.yaml"
    other.write_text("methods: {fast: {scrub: {epochs: 1}}, slow: {scrub: {epochs: 9}}}\n")
    (study,) = load(f"{{slow: {{scrub: {{from: {other}}}}}}}").studies
    assert study.fixed == {"epochs": 9}
    with pytest.raises(ConfigError, match="there are several: fast, slow; give the study the name"):
        load(f"{{scrub: {{from: {other}}}}}")
    with pytest.raises(ConfigError, match="of the studies of salun in it there are none"):
        load(f"{{salun: {{from: {other}}}}}")


def test_files_that_take_from_each_other_end(load: Load, tmp_path: Path) -> None:
    other = tmp_path / "best.yaml"
    other.write_text(f"methods: {{scrub: {{from: {other}}}}}\n")
    with pytest.raises(ConfigError, match="files that take from files"):
        load(f"{{scrub: {{from: {other}}}}}")


def test_an_error_in_the_other_file_is_at_its_line(load: Load, tmp_path: Path) -> None:
    other = tmp_path / "best.yaml"
    other.write_text("methods:\n  scrub: {alhpa: 0.25}\n")
    with pytest.raises(ConfigError, match=r"best.yaml:2: methods.scrub.alhpa: unknown field"):
        load(f"{{scrub: {{from: {other}}}}}")


def test_lists_and_pages_show_what_methods_declare() -> None:
    ranges = "{learning_rate: {log_uniform: [1e-05, 0.01]}, alpha: {log_uniform: [0.001, 1]}"
    assert f"      recommended: {ranges}, msteps: {{int: [1, 3]}}}}" in describe_parts()
    page = methods_page()
    assert "Recommended ranges: `coefficient` {log_uniform: [1e-06, 0.001]}." in page
    assert "Ranges `muc`: `epochs` 10, `learning_rate` 0.006, `coefficient`" in page
