"""What methods can unlearn and where they come from, asked of themselves."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

import pytest

from tests.tiny import SWEEP, tiny_sweep
from unlearn_ray.config.abilities import FORGET_KINDS, abilities, matrix, paper
from unlearn_ray.core.errors import ConfigError
from unlearn_ray.core.registry import find, parts
from unlearn_ray.data.base import ForgetSet
from unlearn_ray.families.base import ClassifierFamily, Family
from unlearn_ray.methods.base import Method


def test_a_letter_stands_for_each_kind_of_forget_set() -> None:
    kinds = {letter: forget_set.whole_classes for letter, forget_set in FORGET_KINDS.items()}
    assert kinds == {"c": True, "s": False}


def test_abilities_are_what_methods_say() -> None:
    alignment = abilities(find(Method, "alignment_calibration"))
    assert alignment.keys() == parts(Family).keys()
    for family, cell in (("byol", "-"), ("clip", "c s"), ("simclr", "c s"), ("supervised", "-")):
        assert alignment[family] == cell
    for name, method in parts(Method).items():
        for family, cell in abilities(method).items():
            for letter, forget_set in FORGET_KINDS.items():
                reason = method.unsupported(find(Family, family)(), forget_set)
                assert (letter in cell) == (reason is None), (name, family)


def test_one_kind_alone() -> None:
    class OfClasses(Method):
        name: ClassVar[str] = "of_classes"

        @classmethod
        def unsupported(cls, family: Family, forget_set: ForgetSet) -> str | None:
            supported = isinstance(family, ClassifierFamily) and forget_set.whole_classes
            return None if supported else "no"

    assert abilities(OfClasses) == {
        name: "c" if issubclass(family, ClassifierFamily) else "-"
        for name, family in parts(Family).items()
    }


@pytest.mark.parametrize("family", ["byol", "simsiam"])
def test_what_needs_negatives_says_so_when_it_is_planned(family: str, tmp_path: Path) -> None:
    general = "".join(f"  {name}: {{}}\n" for name in ("neggrad", "gradient_ascent", "l1_sparsity"))
    text = SWEEP.replace("family: simclr", f"family: {family}")
    text = text.replace("seeds:\n", general + "seeds:\n")
    assert len(tiny_sweep(tmp_path, text).studies) == 4
    refused = text.replace("  neggrad:", "  alignment_calibration:")
    reason = f"alignment_calibration needs a contrastive family; {family} has no negatives"
    with pytest.raises(ConfigError, match=f"methods.alignment_calibration: {reason}"):
        tiny_sweep(tmp_path, refused)


@pytest.mark.parametrize("name", parts(Method))
def test_every_method_names_its_paper(name: str) -> None:
    found = paper(find(Method, name))
    assert re.search(r'"\w[^"]+"', found), "name the paper behind the module's first sentence"
    assert "\n" not in found
    assert not found.endswith(".")


def test_papers() -> None:
    assert paper(find(Method, "l1_sparsity")) == (
        'Jia et al., "Model Sparsity Can Simplify Machine Unlearning", NeurIPS 2023'
    )
    assert paper(find(Method, "alignment_calibration")).endswith('Evaluation", equation 5')


def test_the_matrix_has_a_row_for_each_method() -> None:
    head, *rows = matrix()
    assert head == ["method", *parts(Family), "paper"]
    assert [row[0] for row in rows] == list(parts(Method))
    assert all(len(row) == len(head) for row in rows)
