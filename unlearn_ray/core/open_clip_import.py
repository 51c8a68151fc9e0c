"""open_clip, behind a torchvision that fits torch or is imported without its operators.

It takes seconds: import this module where towers or tokens are made, not where sweeps are planned.
It downloads nothing; its tokenizer's vocabulary lies within the package.
"""

from __future__ import annotations

import unlearn_ray.core.torchvision_import  # noqa: F401

# isort: split
import open_clip

__all__ = ["open_clip"]
