"""Compiled encoders.

Equal networks are compiled once per process: compiled code belongs to a class and a set of shapes,
not to a module. Processes of one machine share what they have compiled through inductor's cache
folder, `TORCHINDUCTOR_CACHE_DIR`, by default in the temporary folder.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

# Combinations of architecture, batch size, training or eval mode, and with or without gradients,
# of one class, that one process compiles. PyTorch's 8 are soon used up by a worker that runs one
# training after another, and the ninth would run eagerly with no more than a warning in its log.
KINDS = 64


def compile_children(module: nn.Module, backend: str | Callable[..., Any] = "inductor") -> None:
    """Compile the children of a module, at their next call.

    Not those whose `forward` is PyTorch's own (a linear layer), which PyTorch leaves out.

    Args:
        module: its children are its encoders and heads.
        backend: see `torch.compile`.
    """
    import torch._dynamo

    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, KINDS)
    for child in module.children():
        # For each batch size of its own: by default the second would be compiled for all sizes,
        # into slower code.
        child.compile(backend=backend, dynamic=False)
