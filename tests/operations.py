"""How many operations PyTorch dispatches: on a GPU nearly each of them is a launch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

# They compute nothing.
VIEWS = {"view", "_unsafe_view", "t", "transpose", "permute", "expand", "slice", "select", "detach"}
VIEWS |= {"alias", "as_strided", "unsqueeze", "squeeze", "split_with_sizes", "unbind", "empty"}
VIEWS |= {"empty_like", "new_empty", "split"}


class _Counting(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        self.count += func.overloadpacket.__name__ not in VIEWS
        return func(*args, **(kwargs or {}))


def operations(action: Callable[[], object]) -> int:
    """The number of operations of an action, without views; one on a list of tensors is one."""
    with _Counting() as counting:
        action()
    return counting.count
