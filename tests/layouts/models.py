"""Models of ours and of other libraries, with weights that differ from what they start with."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from unlearn_ray.data.base import DatasetInfo
from unlearn_ray.data.datasets.digits import Digits
from unlearn_ray.families.base import Family
from unlearn_ray.layouts.counterpart import Ours
from unlearn_ray.models.base import Model

SIZE = 32
INFO: DatasetInfo = Digits(image_size=SIZE).info()
CLASSES = len(INFO.class_names)


def shaken(model: nn.Module) -> nn.Module:
    """The model in eval mode, with every weight and every running statistic changed."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith("running_var"):
                value.add_(torch.rand(value.shape, generator=generator))
            elif value.is_floating_point():
                value.add_(0.01 * torch.randn(value.shape, generator=generator))
    return model.eval()


def ours_of(model: Model, family: Family) -> tuple[nn.Module, Ours]:
    torch.manual_seed(2)
    made = family.build(model.build(SIZE), CLASSES)
    return made.eval(), Ours.of(model, family, INFO)


def images() -> Tensor:
    return torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(3))


def prefixed(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}{name}": value for name, value in state.items()}


@torch.no_grad()
def output(model: nn.Module) -> Tensor:
    return model(images())
