"""The blocks of a backbone, and their outputs by forward hooks."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn


def blocks_of(backbone: nn.Module) -> dict[str, nn.Module]:
    """The blocks of a backbone by name, in the order of depth.

    They are the members of its outermost sequences (`nn.Sequential`, `nn.ModuleList`): a ResNet's
    residual blocks, a transformer's layers. A backbone without sequences has its direct children.
    """
    found: dict[str, nn.Module] = {}

    def visit(path: str, module: nn.Module) -> None:
        for name, child in module.named_children():
            if isinstance(child, nn.Sequential | nn.ModuleList):
                found.update({f"{path}{name}.{n}": each for n, each in child.named_children()})
            else:
                visit(f"{path}{name}.", child)

    visit("", backbone)
    return found or dict(backbone.named_children())


class BlockOutputs:
    """Maps network input to the outputs of all blocks of a backbone, side by side.

    The last block's are the backbone's features, which may be pooled otherwise than over positions
    (the class token of a transformer).

    Args:
        backbone: on the device of its inputs.

    Attributes:
        widths: dimension of every block's output by its name; known after the first call.
    """

    def __init__(self, backbone: nn.Module) -> None:
        self._backbone = backbone
        self.widths: dict[str, int] = {}

    def __call__(
        self, images: Float[Tensor, "n 3 height width"]
    ) -> Float[Tensor, "n of_all_blocks"]:
        """The outputs in the order of `widths`."""
        blocks = blocks_of(self._backbone)
        channels_last = getattr(self._backbone, "channels_last", False)
        outputs: dict[str, Tensor] = {}
        hooks = [
            block.register_forward_hook(_keeping(outputs, name, images.shape[0], channels_last))
            for name, block in blocks.items()
        ]
        try:
            features = self._backbone(images).float()
        finally:
            for hook in hooks:
                hook.remove()
        ordered = [name for name in blocks if name in outputs] or ["features"]
        outputs[ordered[-1]] = features
        self.widths = {name: outputs[name].shape[1] for name in ordered}
        return torch.cat([outputs[name] for name in ordered], dim=1)

    def by_name(self, outputs: Float[Tensor, "n of_all_blocks"]) -> Mapping[str, Tensor]:
        """The outputs of each block."""
        parts = torch.split(outputs, [*self.widths.values()], dim=1)
        return dict(zip(self.widths, parts, strict=True))


def _keeping(
    outputs: dict[str, Tensor], name: str, count: int, channels_last: bool
) -> Callable[[nn.Module, object, object], None]:
    # Pooled at once: a later layer may change the output in place.
    def keep(_: nn.Module, __: object, output: object) -> None:
        # Some blocks also hand on the shape of their tokens.
        first = output[0] if isinstance(output, tuple) else output
        if isinstance(first, Tensor):
            outputs[name] = pooled(first, count, channels_last=channels_last)

    return keep


def pooled(output: Tensor, count: int, *, channels_last: bool = False) -> Float[Tensor, "n d"]:
    """A block's output, averaged over positions, in float32.

    Args:
        output: (N, D), maps (N, D, ...), tokens (N, T, D) or, as in some transformers, (T, N, D).
        count: the number N of images.
        channels_last: whether maps are (N, ..., D).
    """
    values = output.float()
    if channels_last and values.dim() == 4:
        return values.mean(dim=(1, 2))
    if values.dim() == 3:
        return values.mean(dim=1 if values.shape[0] == count else 0)
    return values if values.dim() == 2 else values.flatten(2).mean(dim=2)
