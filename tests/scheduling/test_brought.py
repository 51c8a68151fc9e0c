"""A brought torchvision ResNet-18 on Ray: refused by its accuracy, then unlearned three times."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scheduling.sweeps import Driver
from tests.theirs import SIZE, resnet18, saved, train
from unlearn_ray.storage.store import open_store

SWEEP = """\
name: brought
dataset: {{digits: {{image_size: {size}}}}}
validation: 100
forget_set: {{random: {{fraction: 0.1}}}}
model: {{resnet18: {{stem: imagenet}}}}
family: supervised
original: {{checkpoint: theirs.pt, normalise: half, expect: {expect:.4f}}}
training: {{epochs: 1, batch_size: 256}}
metrics: [retain_accuracy, test_accuracy, forget_accuracy]
methods:
  finetune: {{epochs: 1, batch_size: 256}}
  neggrad: {{epochs: 1, batch_size: 256}}
  random_label: {{epochs: 1, batch_size: 256}}
seeds: {{tuning: [0], reporting: [1]}}
"""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_brought_model_is_checked_and_unlearned(tmp_path: Path) -> None:
    theirs = train(lambda: resnet18(num_classes=10))
    saved(theirs.model.state_dict(), tmp_path / "theirs.pt", "module.")
    file, store = tmp_path / "brought.yaml", str(tmp_path / "store")
    file.write_text(SWEEP.format(size=SIZE, expect=theirs.accuracy))
    with Driver(file, store, "--set", "original.expect=0.999") as driver:
        driver.ends(1)
    told = f"its test accuracy is {theirs.accuracy:.4f}, and expected are 0.999 within 0.005"
    assert told in driver.err
    assert not open_store(store).records("unlearn")
    with Driver(file, store) as driver:
        driver.ends(0)
    for name in ("retrain", "original", "finetune", "neggrad", "random_label"):
        assert name in driver.out
    kinds = {
        kind: len(open_store(store).records(kind)) for kind in ("bring", "pretrain", "unlearn")
    }
    assert kinds == {"bring": 1, "pretrain": 0, "unlearn": 6}
    rows = open_store(store).read_rows().to_pylist()
    (original,) = (row for row in rows if row["study"] == "original" and row["state"] == "complete")
    assert original["test_accuracy"] == pytest.approx(100 * theirs.accuracy, abs=0.3)
    with Driver(file, store) as driver:
        driver.ends(0)
    assert "Nothing to train" in driver.err
