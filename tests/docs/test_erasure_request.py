"""docs/erasure_request.md, executed: its file is written, and its commands are run in order.

The images are scikit-learn's digits, as files of a folder per class.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.docs.pages import blocks, commands
from tests.takeaway.stores import MENDED
from unlearn_ray.data.datasets.digits import Digits
from unlearn_ray.storage.store import open_store

ROOT = Path(__file__).parents[2]
TRAIN, TEST = 40, 12  # images of each class
USERS, ASKED = 200, 50
# The page's own numbers would take two CPUs a quarter of an hour.
SIZE = 32
SMALLER = ("--set", f"dataset.image_folder.image_size={SIZE}", "--set", "search.trials=2")


def write_images(folder: Path) -> list[str]:
    """Digits as PNG files; returns the names of the training images."""
    data = Digits(image_size=8).load(folder / "cache")
    named = []
    for label in range(10):
        of_class = np.flatnonzero(data.train_labels == label)[: TRAIN + TEST]
        for number, image in enumerate(data.train_images[of_class]):
            part = "train" if number < TRAIN else "test"
            file = folder / "photos" / part / f"digit{label}" / f"{number:04}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(file)
            if part == "train":
                named.append(f"{file.parent.name}/{file.name}")
    return named


def write_request(folder: Path, images: list[str]) -> set[str]:
    """users.csv and requests.txt; returns the images of those who ask."""
    users = [f"u{1000 + place % USERS}" for place in range(len(images))]
    rows = "".join(f"{user},{image}\n" for user, image in zip(users, images, strict=True))
    (folder / "users.csv").write_text(f"user_id,file\n{rows}")
    asked = set(sorted(set(users))[::4])
    assert len(asked) == ASKED
    (folder / "requests.txt").write_text("".join(f"{user}\n" for user in sorted(asked)))
    return {image for user, image in zip(users, images, strict=True) if user in asked}


def write_model(folder: Path, images: list[str]) -> None:
    """model.pt: a torchvision model, trained by a loop of its own."""
    import unlearn_ray.core.torchvision_import  # noqa: F401

    # isort: split
    from torchvision.models import resnet18
    from torchvision.transforms.functional import normalize, resize, to_tensor

    torch.manual_seed(0)
    model = resnet18(num_classes=10).train()
    optimizer = torch.optim.SGD(model.parameters(), 0.02, momentum=0.9)
    pixels = [
        resize(to_tensor(Image.open(folder / "photos/train" / name)), [SIZE, SIZE])
        for name in images
    ]
    inputs = normalize(torch.stack(pixels), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    labels = torch.tensor([int(name.removeprefix("digit")[0]) for name in images])
    for _ in range(3):
        for batch in torch.randperm(len(images)).split(40):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(inputs[batch]), labels[batch]).backward()
            optimizer.step()
    torch.save(model.state_dict(), folder / "model.pt")


def argv(command: str) -> list[str]:
    """A command of the page, run by this interpreter from the source tree."""
    program, *arguments = shlex.split(command)
    if program == "python":
        return [sys.executable, "-c", MENDED, *arguments]
    if program == "openssl":
        return [program, *arguments]
    assert program == "unlearn-ray"
    found = [sys.executable, "-m", "unlearn_ray", *arguments]
    return [*found, *SMALLER] if "request.yaml" in arguments else found


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_page(tmp_path: Path) -> None:
    images = write_images(tmp_path)
    erased = write_request(tmp_path, images)
    write_model(tmp_path, images)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "UNLEARN_RAY_CACHE": str(tmp_path / "cache"),
    }
    said: dict[str, str] = {}
    for block in blocks("erasure_request"):
        if block.file is not None:
            (tmp_path / block.file).write_text(block.text)
        for command in commands(block) if block.kind == "sh" else ():
            done = subprocess.run(
                argv(command), cwd=tmp_path, env=environment, capture_output=True, text=True,
                check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
            said.setdefault(command.split()[1], done.stdout)

    assert "all samples of 50 users\n" in said["plan"]
    assert f"{len(erased)} samples, named one by one" in said["plan"]
    assert "by class: " in said["plan"]
    assert "no retrained model" in said["plan"]
    for table in (said["run"], said["results"]):
        assert "not compared with retraining" in table
        assert all(name in table for name in ("original", "scrub", "random_label", "finetune"))
        assert all(head in table for head in ("UA", "TA", "CMIA", "Member rate, forget"))
    rows = open_store(str(tmp_path / "store")).read_rows().to_pylist()
    assert {row["forget_set"] for row in rows} == {"ids"}
    assert "u1000" not in str(rows)
    assert not list((tmp_path / "store" / "records").glob("retrain"))
    reported = [row for row in rows if row["purpose"] == "reporting"]
    assert {row["study"] for row in reported} == {"scrub", "random_label", "finetune"}
    assert all(row["state"] == "complete" for row in reported)
    assert (tmp_path / "cleaned" / "model.safetensors").is_file()
    assert "largest difference" in said["cleaned/load.py"]
    assert "Signature Verified Successfully" in said["pkeyutl"]
    audit = json.loads((tmp_path / "request.audit.json").read_text())
    assert (audit["holds"], audit["request"]["users"]) == (True, ASKED)
    for model in audit["models"]:
        assert {sample["sample"] for sample in model["samples"]} == erased
        assert model["request_is_the_forget_set"]
    assert "u1000" not in json.dumps(audit)
    assert "Audit of a request" in (tmp_path / "request.html").read_text()


def test_the_page_has_its_file_and_commands() -> None:
    page = blocks("erasure_request")
    assert [block.file for block in page if block.kind == "yaml"] == ["request.yaml"]
    told = [command for block in page if block.kind == "sh" for command in commands(block)]
    assert [command.split()[:2] for command in told] == [
        ["unlearn-ray", "plan"],
        ["unlearn-ray", "run"],
        ["unlearn-ray", "results"],
        ["unlearn-ray", "results"],
        ["python", "cleaned/load.py"],
        ["openssl", "genpkey"],
        ["unlearn-ray", "results"],
        ["openssl", "pkeyutl"],
    ]
