"""torchvision, also where its compiled operators do not match torch.

The wheels of torchvision are linked against the CUDA build of torch. Beside a CPU build, its
import fails while registering shapes for two detection operators whose library did not load.
Nothing here uses those operators, so they are declared (not implemented) and the import runs.
"""

from __future__ import annotations

import sys

import torch


def _import() -> None:
    try:
        import torchvision
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        for operator in ("nms", "qnms"):
            torch.library.define(
                f"torchvision::{operator}",
                "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
            )
        import torchvision  # noqa: F401


_import()
