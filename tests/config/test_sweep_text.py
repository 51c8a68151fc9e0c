"""A sweep is written as a file that is read back as the same sweep."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.sweeps import draw_tree
from tests.fuzz.values import REAL, TEXT
from unlearn_ray.config.fields import schema_fields
from unlearn_ray.config.sweep_file import load_sweep
from unlearn_ray.config.sweep_text import sweep_text
from unlearn_ray.config.yaml_nodes import parse, text_fault
from unlearn_ray.config.yaml_text import yaml_text
from unlearn_ray.core.errors import ConfigError
from unlearn_ray.core.registry import find
from unlearn_ray.methods.base import Method
from unlearn_ray.studies.study import study_key

SWEEPS = Path(__file__).parents[2] / "sweeps"
# Their images are the reader's own.
BROUGHT = {"clip_class", "clip_coco", "cu_mini_class", "cu_mini_sample"}


def check_round_trip(path: Path, *sets: str) -> None:
    sweep = load_sweep(path, sets)
    again = path.parent / "again.yaml"
    again.write_text(sweep_text(sweep, [f"of {path.name}"]))
    read = load_sweep(again)
    assert read == sweep
    assert [study_key(read, study) for study in read.studies] == [
        study_key(sweep, study) for study in sweep.studies
    ]
    assert all(len(line) <= 100 for line in again.read_text().splitlines())


@pytest.mark.parametrize("path", sorted(SWEEPS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_sweep_is_read_back(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / path.name
    copy.write_text(path.read_text())
    dataset = "captioned_digits" if path.stem == "clip_coco" else "digits"
    if path.stem == "clip_class":
        dataset = "{prompted: {dataset: digits}}"
    sets = [f"dataset={dataset}"] if path.stem in BROUGHT else []
    if path.stem == "clip_class":
        sets += ["family.clip.checkpoint=null", "forget_set.classes.classes=[1]"]
    if path.stem in BROUGHT:
        sets += ["model=resnet8"]
    check_round_trip(copy, *sets)


RANGES: dict[str, dict[str, Any]] = {
    "learning_rate": {"log_uniform": [1e-5, 0.1]},
    "batch_size": {"grid": [16, 32, 64]},
    "epochs": {"log_int": [1, 100]},
    "momentum": {"when": {"schedule": "cosine"}, "uniform": [0, 0.9], "step": 0.3},
    "schedule": {"choice": ["cosine", "constant"]},
}


def test_drawn_sweeps_are_read_back(tmp_path: Path) -> None:
    taken = 0
    for seed in range(60):
        draw = random.Random(seed)
        tree = draw_tree(draw)
        for name, fields in tree["methods"].items():
            known = schema_fields(find(Method, name))
            if set(RANGES) <= known.keys() and draw.randrange(3):
                fields |= RANGES
        path = tmp_path / "drawn.yaml"
        path.write_text(yaml_text(tree))
        try:
            load_sweep(path)
        except ConfigError:
            continue
        check_round_trip(path)
        taken += 1
    assert taken > 40


def test_what_the_defaults_are_stands_in_comments(tmp_path: Path) -> None:
    text = sweep_text(load_sweep(SWEEPS / "quickstart.yaml"))
    scrub = text[text.index("  scrub:") : text.index("  contrastive_unlearning:")]
    assert "    learning_rate: {log_uniform: [0.001, 0.01]}\n" in scrub
    comment = " ".join(line.strip(" #") for line in scrub.splitlines() if "#" in line)
    assert "alpha=0.001" in comment
    assert " epochs=" not in comment
    assert "  trials: 5\n  seed: 0\n  startup: 5\n  keep: 50.0\n  concurrent: null\n" in text


def test_a_password_in_a_sweep_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    quickstart = (SWEEPS / "quickstart.yaml").read_text()
    path.write_text(f"{quickstart}store: s3://KEY:SECRET@bucket/x\n")
    text = sweep_text(load_sweep(path))
    assert "SECRET" not in text
    assert 'store: "s3://***@bucket/x"' in text


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9) | st.sampled_from([text for text in TEXT if text_fault(text) is None]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(min_size=1, max_size=5), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(st.dictionaries(st.text(min_size=1, max_size=5), plain, min_size=1, max_size=4))
def test_plain_values_are_read_back(values: dict[str, Any]) -> None:
    try:
        read = parse(yaml_text(values, ["a comment\n: [not a value"]), "x.yaml", "")
    except ConfigError:
        # The reader takes no control characters.
        assert any(text_fault(text) for text in _texts(values))
        return
    assert read.plain == values


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [*value, *(text for inner in value.values() for text in _texts(inner))]
    if isinstance(value, list):
        return [text for inner in value for text in _texts(inner)]
    return [value] if isinstance(value, str) else []


def test_hard_numbers_are_read_back() -> None:
    values = {"numbers": [value for value in REAL if isinstance(value, float)]}
    assert parse(yaml_text(values), "x.yaml", "").plain == values
