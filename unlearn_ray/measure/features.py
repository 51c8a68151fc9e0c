"""Features of a frozen backbone, extracted block by block on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from unlearn_ray.core.errors import NonFiniteLoss
from unlearn_ray.core.modes import in_eval_mode

# Views are drawn per block, so this number determines the views; it is not a tuning knob.
BLOCK = 512

Views = Callable[[UInt8[Tensor, "batch height width 3"]], Float[Tensor, "batch 3 height width"]]


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Eval mode without gradients; afterwards every submodule's training flag is as before."""
    with in_eval_mode(module), torch.no_grad():
        yield


def extract(
    module: nn.Module,
    images: UInt8[Tensor, "all height width 3"],
    ids: Int[Tensor, " n"],
    views: Views,
    output: Callable[[Tensor], Tensor] | None = None,
) -> Float[Tensor, "n d"]:
    """A module's outputs for one view of chosen images, on the CPU in float32.

    Args:
        module: a backbone or a whole model, on the device of `images`; run in eval mode.
        images: of a whole set, resident on the device.
        ids: rows of `images`, on the same device.
        views: maps a block of at most 512 images to network input.
        output: maps network input to the output; by default, the module itself.

    Raises:
        NonFiniteLoss: a feature is NaN or infinite.
    """
    take: Callable[[Tensor], Tensor] = module if output is None else output
    return in_blocks(module, ids, lambda block: take(views(images[block])), "images")


def in_blocks(
    module: nn.Module, rows: Int[Tensor, " n"], output: Callable[[Tensor], Tensor], what: str
) -> Float[Tensor, "n d"]:
    """The output for chosen rows of images or captions, at most 512 at a time, on the CPU.

    Precision is float32 on every device: inference is cheap compared with training, and gaps of a
    tenth of a percent matter.

    Args:
        module: in eval mode during the call.
        rows: the chosen rows.
        output: maps a block of rows to outputs.
        what: name of the rows, for the error.

    Raises:
        NonFiniteLoss: an output is NaN or infinite.
    """
    with frozen(module):
        blocks = [
            output(rows[start : start + BLOCK]).float()
            for start in range(0, max(1, rows.shape[0]), BLOCK)
        ]
        features = torch.cat(blocks).cpu()
    return finite(features, f"{rows.shape[0]} {what}")


def finite(outputs: Tensor, what: str) -> Tensor:
    """Return the outputs after checking that they are finite.

    Raises:
        NonFiniteLoss: one is NaN or infinite.
    """
    if not bool(outputs.isfinite().all()):
        raise NonFiniteLoss(
            f"outputs for {what}",
            "hold NaN or infinite values",
            "lower the learning rate or the weight of the term that is ascended",
        )
    return outputs
