"""open_clip, with a torchvision that fits torch or is imported without its operators.

The import takes seconds: do it where towers or tokens are made, not where sweeps are planned.
Nothing is downloaded; the tokenizer's vocabulary is part of the package.
"""

from __future__ import annotations

import unlearn_ray.core.torchvision_import  # noqa: F401

# isort: split
import open_clip

__all__ = ["open_clip"]
