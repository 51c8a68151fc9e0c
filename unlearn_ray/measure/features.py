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

# Devices whose libraries choose, or try out, an algorithm for each shape.
_SHAPED = ("cuda",)
_SMALLEST = 32

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
    """`encode`, moved to the CPU.

    Raises:
        NonFiniteLoss: a feature is NaN or infinite.
    """
    return encode(module, images, ids, views, output).cpu()


def encode(
    module: nn.Module,
    images: UInt8[Tensor, "all height width 3"],
    ids: Int[Tensor, " n"],
    views: Views,
    output: Callable[[Tensor], Tensor] | None = None,
) -> Float[Tensor, "n d"]:
    """A module's outputs for one view of chosen images, on the device in float32.

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
    return in_blocks(module, ids, lambda block: views(images[block]), take, "images")


def in_blocks(
    module: nn.Module,
    rows: Int[Tensor, " n"],
    inputs: Callable[[Tensor], Tensor],
    output: Callable[[Tensor], Tensor],
    what: str,
) -> Float[Tensor, "n d"]:
    """The output for chosen rows of images or captions, at most 512 at a time, on the device.

    Precision is float32 on every device (`core.precision`): inference is cheap compared with
    training, and gaps of a tenth of a percent matter.

    Args:
        module: in eval mode during the call.
        rows: the chosen rows.
        inputs: maps a block of rows to network input.
        output: maps network input to outputs, row by row.
        what: name of the rows, for the error.

    Raises:
        NonFiniteLoss: an output is NaN or infinite.
    """
    with frozen(module):
        blocks = [
            in_whole(inputs(rows[start : start + BLOCK]), output).float()
            for start in range(0, max(1, rows.shape[0]), BLOCK)
        ]
        features = torch.cat(blocks)
    return finite(features, f"{rows.shape[0]} {what}")


def in_whole(given: Tensor, output: Callable[[Tensor], Tensor]) -> Tensor:
    """The output for a block; on a GPU in one of few sizes, since these decide on algorithms."""
    if given.device.type not in _SHAPED:
        return output(given)
    return output(whole_block(given))[: len(given)]


def whole_block(given: Float[Tensor, "n ..."]) -> Float[Tensor, "block ..."]:
    """A block followed by copies of its first row, up to 32, 64, 128, 256 or 512 rows.

    An empty one stays empty.
    """
    if len(given) == 0:
        return given
    missing = max(_SMALLEST, 1 << (len(given) - 1).bit_length()) - len(given)
    return torch.cat([given, given[:1].expand(missing, *given.shape[1:])]) if missing else given


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
