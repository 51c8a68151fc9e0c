"""`results export`: a folder that the target library loads, with the store's own outputs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.layouts.models import INFO, SIZE, ours_of, shaken
from tests.layouts.test_layouts import CLIP_FAMILY, TINY, TINY_CLIP
from tests.takeaway.conftest import Finished
from tests.takeaway.stores import MENDED, finished
from tests.tiny import SWEEP
from unlearn_ray.core.errors import BadInput, Exit
from unlearn_ray.core.keys import plain
from unlearn_ray.families.base import Family
from unlearn_ray.families.moco import MoCo
from unlearn_ray.families.supervised import Supervised
from unlearn_ray.models.base import Model
from unlearn_ray.models.open_clip import OpenCLIP
from unlearn_ray.models.resnet import ResNet18
from unlearn_ray.results import main
from unlearn_ray.steps.kinds.pretrain import Pretrain
from unlearn_ray.steps.kinds.retrain import Retrain
from unlearn_ray.steps.kinds.unlearn import Unlearn
from unlearn_ray.storage.store import open_store
from unlearn_ray.takeaway import export as exporting
from unlearn_ray.takeaway.choice import choose
from unlearn_ray.takeaway.description import Description, Output
from unlearn_ray.takeaway.exported_model import load_exported
from unlearn_ray.takeaway.image_model import built
from unlearn_ray.takeaway.stored_model import load_model
from unlearn_ray.takeaway.targets import translated
from unlearn_ray.testing import toy

FILES = {"README.md", "config.json", "load.py", "model.safetensors", "reference.safetensors"}


def exported(finished: Finished, output: Path, *options: str) -> dict[str, Any]:
    """The config that the command writes."""
    arguments = [str(finished.folder / "store"), "export", finished.sweep.name, *options]
    assert main([*arguments, "--output", str(output)]) == Exit.DONE
    assert {path.name for path in output.iterdir()} == FILES
    config: dict[str, Any] = json.loads((output / "config.json").read_text())
    return config


def loaded(folder: Path, *program: str) -> str:
    """What load.py prints, run from elsewhere."""
    command = [sys.executable, *program, str(folder / "load.py")]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", env=_environment())
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


def test_a_winner_is_loaded_by_its_script(sevens: Finished, tmp_path: Path) -> None:
    config = exported(sevens, tmp_path / "model", "--method", "away", "--seed", "2")
    assert "largest difference" in loaded(tmp_path / "model")
    method = next(study for study in sevens.sweep.studies if study.name == "away").at({})
    step = Unlearn(setting=sevens.sweep.setting, seed=2, method=method)
    assert (config["origin"]["kind"], config["origin"]["key"]) == ("unlearn", step.key)
    described = config["description"]
    assert described["class_names"] == list("0123456789")
    assert (described["image_size"], described["output"]) == (8, "logits")
    assert (described["mean"], described["std"]) == ([0.4, 0.5, 0.6], [0.2, 0.3, 0.4])
    images = load_file(tmp_path / "model" / "reference.safetensors")["images"]
    taken, stored = load_exported(tmp_path / "model"), load_model(sevens.store, step.key)
    torch.testing.assert_close(taken(images), stored(images), rtol=0, atol=0)


def test_a_script_finds_altered_weights(sevens: Finished, tmp_path: Path) -> None:
    exported(sevens, tmp_path / "model", "--best")
    other = tmp_path / "other"
    exported(sevens, other, "--method", "retrain")
    (tmp_path / "model" / "model.safetensors").write_bytes(
        (other / "model.safetensors").read_bytes()
    )
    command = [sys.executable, str(tmp_path / "model" / "load.py")]
    done = subprocess.run(command, capture_output=True, text=True, env=_environment())
    assert done.returncode == 1


@pytest.mark.parametrize(("method", "kind"), [("retrain", Retrain), ("original", Pretrain)])
def test_reference_models(
    method: str, kind: type[Pretrain], sevens: Finished, tmp_path: Path
) -> None:
    config = exported(sevens, tmp_path / "model", "--method", method)
    assert config["origin"]["key"] == kind(setting=sevens.sweep.setting, seed=1).key
    card = (tmp_path / "model" / "README.md").read_text()
    assert "Hyperparameter" not in card
    assert f"sevens: {method}" in card


def test_the_card_says_what_was_forgotten_and_how_near_it_is(
    sevens: Finished, tmp_path: Path
) -> None:
    config = exported(sevens, tmp_path / "model", "--method", "finetune")
    choice = choose(sevens.store, "sevens", "finetune")
    card = (tmp_path / "model" / "README.md").read_text()
    setting, key = sevens.sweep.setting, config["origin"]["key"]
    labels = setting.dataset.known_labels()
    assert labels is not None
    (sevens_line,) = [line for line in card.splitlines() if line.startswith("| 7 |")]
    forgotten, retained, held_out = (
        int(cell.replace(",", "")) for cell in sevens_line.strip("| ").split("|")[1:]
    )
    assert (retained, forgotten + held_out) == (0, int((labels == 7).sum()))
    (others,) = [line for line in card.splitlines() if line.startswith("| 3 |")]
    assert others.split("|")[2].strip() == "0"
    for text in (key, f"{choice.row['average_gap']:.2f}", "learning_rate", "torch", "0.01"):
        assert text in card
    assert str(sevens.folder) not in card + json.dumps(config)


def test_the_best_is_the_one_with_the_smallest_gap(sevens: Finished) -> None:
    gaps = {
        name: choose(sevens.store, "sevens", name).line["average_gap_of_means"]
        for name in ("finetune", "away")
    }
    best = choose(sevens.store, "sevens")
    assert best.study == min(gaps, key=gaps.__getitem__)
    assert best.row["seed"] == 1
    assert choose(sevens.store, "sevens", "gradient_ascent").study == "away"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["sevns"], "did you mean sevens?"),
        (["sevens", "--method", "finetun"], "did you mean finetune?"),
        (["sevens", "--seed", "0"], "its runs are seed 1 replicate 0, seed 2"),
        (["sevens", "--method", "retrain", "--replicate", "4"], "retrain has no model"),
        (["sevens", "--to", "torchvision"], "layout native"),
        (["sevens", "--to", "open_clip"], "layout native"),
    ],
)
def test_what_cannot_be_exported(
    options: list[str],
    reason: str,
    sevens: Finished,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = [str(sevens.folder / "store"), "export", *options]
    assert main([*arguments, "--output", str(tmp_path / "model")]) == Exit.BAD_INPUT
    assert reason in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["full", "file", "link"])
def test_nothing_is_overwritten(
    what: str, sevens: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "model"
    if what == "full":
        output.mkdir()
        (output / "notes.txt").write_text("mine")
    elif what == "file":
        output.write_text("mine")
    else:
        output.symlink_to(tmp_path / "nowhere")
    before = sorted(tmp_path.rglob("*"))
    arguments = [str(sevens.folder / "store"), "export", "sevens", "--output", str(output)]
    assert main(arguments) == Exit.BAD_INPUT
    assert str(output) in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_folder_may_be_there(sevens: Finished, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    exported(sevens, tmp_path / "model")
    exported(sevens, tmp_path / "new" / "folder" / "model")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_place_that_cannot_be_written(
    sevens: Finished, read_only_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = read_only_folder / "model"
    arguments = [str(sevens.folder / "store"), "export", "sevens", "--output", str(output)]
    assert main(arguments) == Exit.MACHINE
    assert f"{output}: cannot be written" in capsys.readouterr().err
    assert not output.exists()


def test_half_a_folder_never_appears(
    sevens: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that ends while it writes leaves nothing of that name."""

    class Killed(BaseException):
        pass

    write_bytes = Path.write_bytes

    def written(path: Path, data: bytes) -> int:
        if path.name == "load.py":
            raise Killed
        return write_bytes(path, data)

    monkeypatch.setattr(Path, "write_bytes", written)
    choice = choose(sevens.store, "sevens")
    with pytest.raises(Killed):
        exporting.export(choice, sevens.store, "native", tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_an_encoder_is_exported_with_its_features(tmp_path: Path) -> None:
    sweep = finished(tmp_path, SWEEP)
    encoders = Finished(sweep, open_store(str(tmp_path / "store")), tmp_path)
    config = exported(encoders, tmp_path / "model")
    assert config["description"]["output"] == "features"
    loaded(tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text()
    assert "features of its backbone" in card


def test_a_folder_for_another_library_is_no_native_one(sevens: Finished, tmp_path: Path) -> None:
    exported(sevens, tmp_path / "model")
    config = tmp_path / "model" / "config.json"
    config.write_text(config.read_text().replace('"native"', '"torchvision"'))
    with pytest.raises(BadInput, match=r"run its load\.py"):
        load_exported(tmp_path / "model")
    config.write_text("[]")
    with pytest.raises(BadInput, match="is not of an exported model"):
        load_exported(tmp_path / "model")


# Other libraries

_VIT = """\
name: tokens
dataset: {digits: {image_size: 8}}
validation: 0.5
forget_set: {classes: {classes: ["7"]}}
model: {vit: {patch: 4, layers: 2, heads: 2, width: 16}}
family: supervised
training: {epochs: 1, batch_size: 64, learning_rate: 0.05}
metrics: [retain_accuracy, test_accuracy]
methods:
  finetune: {epochs: 1, batch_size: 128, learning_rate: 0.01}
seeds: {tuning: [0], reporting: [1]}
"""


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Classifiers of an architecture that torchvision and timm have."""
    folder = tmp_path_factory.mktemp("tokens")
    return Finished(finished(folder, _VIT), open_store(str(folder / "store")), folder)


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_other_libraries_load_it_alone(library: str, tokens: Finished, tmp_path: Path) -> None:
    config = exported(tokens, tmp_path / "model", "--to", library)
    assert config["library"] == library
    script = (tmp_path / "model" / "load.py").read_text()
    assert "unlearn_ray" not in script
    loaded(tmp_path / "model", "-c", MENDED)


@pytest.mark.parametrize(
    ("model", "family", "library", "output"),
    [
        (ResNet18(stem="cifar"), Supervised(), "torchvision", "logits"),
        (ResNet18(stem="imagenet"), toy.tiny(MoCo), "timm", "features"),
        (OpenCLIP(architecture="tiny"), CLIP_FAMILY, "open_clip", "embeddings"),
        (TINY, CLIP_FAMILY, "native", "embeddings"),
    ],
)
def test_outputs_of_every_kind(
    model: Model,
    family: Family,
    library: str,
    output: Output,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("open_clip.factory._MODEL_CONFIGS", {"tiny": TINY_CLIP})
    description = Description(
        model=plain(model), family=plain(family), sparse=False, image_size=SIZE,
        class_names=INFO.class_names, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), output=output,
    )  # fmt: skip
    network, _ = ours_of(model, family)
    taken = built(description, shaken(network).state_dict(), "weights of a test")
    theirs = translated(taken, library)
    assert bool(theirs.note) == (output == "features")
    for name, data in exporting.files_of(taken, theirs, library, {}).items():
        (tmp_path / name).write_bytes(data)
    loaded(tmp_path, "-c", MENDED)
