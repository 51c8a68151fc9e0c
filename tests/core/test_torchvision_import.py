"""torchvision beside a torch that it does not fit."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from unlearn_ray.core.errors import MachineError
from unlearn_ray.core.torchvision_import import check_release

NEEDS = ["numpy", "torch (==2.13.0)", 'gdown>=4.7.3; extra == "gdown"']


@pytest.mark.parametrize("fits", ["2.13.0", "2.13.0+cpu", "2.13.0+cu130"])
def test_every_build_of_its_release_will_do(fits: str) -> None:
    check_release(fits, "0.28.0", NEEDS)
    check_release(fits, "0.28.0", ["numpy"])


@pytest.mark.parametrize("other", ["2.12.1+cpu", "2.13.1", "2.14.0a0+git123"])
def test_another_release_is_refused_in_one_line(other: str) -> None:
    with pytest.raises(MachineError) as refused:
        check_release(other, "0.28.0", NEEDS)
    assert str(refused.value) == (
        f"torchvision 0.28.0: made for torch ==2.13.0, and this is torch {other}; install both "
        "from one index, such as pip install torch torchvision --index-url "
        "https://download.pytorch.org/whl/cpu"
    )


PROGRAM = """\
import sys
import torch
import unlearn_ray.core.torchvision_import
import torchvision
from torchvision.models import VisionTransformer, resnet18
from unlearn_ray.core.open_clip_import import open_clip

print(sorted(name for name in dir(torch.ops.torchvision) if not name.startswith("_")))
print(torchvision.__version__)
try:
    torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
except RuntimeError as error:
    print(type(error).__name__, str(error)[:29])
"""


def test_no_operator_is_made_up() -> None:
    """In whatever pair is installed here."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    operators, version, *said = done.stdout.splitlines()
    assert version.startswith("0.")
    if said:  # other builds
        assert "nms" not in operators
        assert said == ["RuntimeError Couldn't load custom C++ ops."]
        (warning,) = (line for line in done.stderr.splitlines() if "different builds" in line)
        assert torch.__version__ in warning
    else:
        assert "different builds" not in done.stderr
