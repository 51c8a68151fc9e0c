"""Samples of low, middle and high memorisation, from a file of estimates."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearn_ray.core.errors import DataError
from unlearn_ray.core.keys import content_key
from unlearn_ray.data.base import DatasetInfo
from unlearn_ray.data.estimate_files import read_estimates
from unlearn_ray.data.forget_sets.memorised import Memorised
from unlearn_ray.data.sample_names import SampleNames
from unlearn_ray.data.splits import forget_size, split, training_ids

INFO = DatasetInfo(30, 9, ("cat", "dog"), 8)
FILES = DatasetInfo(30, 9, ("cat", "dog"), 8, tuple(f"cat/{number:02}.png" for number in range(30)))
LABELS = np.zeros(30, np.int64)


def estimates(path: Path, values: dict[str, float]) -> str:
    frame = pd.DataFrame({"sample": [*values], "memorisation": [*values.values()], "more": 1})
    frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_csv(path, index=False)
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("estimates")


@given(
    st.lists(st.integers(-8, 8), min_size=12, max_size=30),
    st.integers(1, 2),
    st.integers(0, 6),
    st.integers(0, 2**32 - 1),
)
def test_groups_are_ordered_disjoint_and_of_equal_size(
    folder: Path, eighths: list[int], count: int, validation: int, seed: int
) -> None:
    values = {str(sample): eighth / 8 for sample, eighth in enumerate(eighths)}
    file = estimates(folder / "drawn.csv", values)
    found = []
    trained_on = training_ids(30, validation, seed)
    for group in ("low", "mid", "high"):
        forget_set = Memorised(file=file, group=group, count=count)
        forget_set.check(INFO, validation)
        parts = split(LABELS, validation, forget_set, seed)
        assert forget_size(forget_set, 30, validation) == len(parts.forget) == count
        assert [s for s in trained_on if s in set(parts.forget)] == parts.forget.tolist()
        found.append(parts.forget.tolist())
    ranked = sorted(values[str(s)] for s in trained_on if str(s) in values)
    low, mid, high = ([values[str(sample)] for sample in group] for group in found)
    assert len({sample for group in found for sample in group}) == 3 * count
    assert sorted(low) == ranked[:count]
    assert sorted(high) == ranked[-count:]
    middle = (len(ranked) - count) // 2
    assert sorted(mid) == ranked[middle : middle + count]


def test_equal_estimates_are_drawn_anew_by_each_seed(tmp_path: Path) -> None:
    file = estimates(tmp_path / "e.csv", {str(sample): 0.0 for sample in range(30)})
    forget_set = Memorised(file=file, group="low", count=5)
    forget_set.check(INFO, 0)
    one, other, again = (split(LABELS, 0, forget_set, seed).forget.tolist() for seed in (0, 1, 0))
    assert one == again != other


def test_its_name_is_its_content(tmp_path: Path) -> None:
    values = {str(sample): sample / 30 for sample in range(30)}
    named = {f"cat/{sample:02}.png": sample / 30 for sample in reversed(range(30))}
    files = [
        (estimates(tmp_path / "a.csv", values), INFO),
        (estimates(tmp_path / "b.parquet", values), INFO),
        (estimates(tmp_path / "c.csv", named), FILES),
    ]
    keys = set()
    for file, info in files:
        forget_set = Memorised(file=file, group="high", count=3)
        with pytest.raises(DataError, match=r"not known .* call check\(\)"):
            content_key(forget_set)
        forget_set.check(info, 0)
        keys.add(content_key(forget_set))
    assert len(keys) == 1
    changed = estimates(tmp_path / "d.csv", named | {"cat/07.png": 0.9})
    for other in (
        replace(forget_set, file=changed),
        replace(forget_set, group="low"),
        replace(forget_set, count=4),
    ):
        other.check(FILES, 0)
        keys.add(content_key(other))
    assert len(keys) == 4


def test_it_travels_without_its_file(tmp_path: Path) -> None:
    file = estimates(tmp_path / "a.csv", {str(sample): sample / 30 for sample in range(30)})
    forget_set = Memorised(file=file, group="high", count=3)
    forget_set.check(INFO, 0)
    travelled = pickle.loads(pickle.dumps(forget_set))
    Path(file).unlink()
    assert content_key(travelled) == content_key(forget_set)
    assert sorted(travelled.select(np.arange(30), LABELS).tolist()) == [27, 28, 29]


def test_too_few_samples_for_three_groups(tmp_path: Path) -> None:
    file = estimates(tmp_path / "a.csv", {str(sample): 0.1 for sample in range(8)})
    with pytest.raises(DataError, match=r"holds estimates of 8 samples.*count from 1 to 2"):
        Memorised(file=file, group="high", count=3).check(INFO, 0)
    forget_set = Memorised(file=file, group="high", count=2)
    forget_set.check(INFO, 15)
    seed = next(s for s in range(99) if sum(i < 8 for i in training_ids(30, 15, s)) < 6)
    with pytest.raises(DataError, match=r"leaves, without the validation set, [0-5] samples"):
        split(LABELS, 15, forget_set, seed)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "has no one column sample: it is empty"),
        ("sample,value\n1,0\n", "no one column memorisation: its columns are sample, value"),
        ("sample,sample,memorisation\n1,1,0\n", "no one column sample"),
        ("sample,memorisation\n", "holds no estimate"),
        ("sample,memorisation\n1,0\n99,0\n", "1 of 2 rows do not name .*: line 3: '99'; write pos"),
        ("sample,memorisation\n#1,0\n", "1 of 1 rows do not name .*: line 2: '#1'"),
        (
            "sample,memorisation\n1,high\n2,\n3,nan\n4,1.5\n5,0\n6\n",
            "5 of 6 rows .*: line 2: 'high'",
        ),
        ("sample,memorisation\n1,0\n2,0\n1,0.5\n", "1 of 3 rows .*: line 4: sample 1 again"),
        ('sample,memorisation\n"1,0\n', "is no CSV"),
        ("PAR1 and nothing more", "is no Parquet file"),
    ],
)
def test_a_file_that_is_refused(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text(text)
    with pytest.raises(DataError, match=reason) as caught:
        read_estimates(str(tmp_path / "e.csv"), SampleNames(INFO))
    assert str(caught.value).isprintable()


def test_parquet_without_the_columns_is_refused(tmp_path: Path) -> None:
    pd.DataFrame({"id": [1]}).to_parquet(tmp_path / "e.parquet")
    with pytest.raises(DataError, match="has no one column sample: its columns are id"):
        read_estimates(str(tmp_path / "e.parquet"), SampleNames(INFO))


@given(st.binary(max_size=80))
def test_any_bytes_are_refused_in_one_line(folder: Path, data: bytes) -> None:
    (folder / "any.csv").write_bytes(data)
    with pytest.raises(DataError) as caught:
        read_estimates(str(folder / "any.csv"), SampleNames(INFO))
    assert str(caught.value).isprintable()
