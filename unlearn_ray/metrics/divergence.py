"""Jensen-Shannon divergence of outputs."""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor, special


def mean_js_divergence(p: Float[Tensor, "n classes"], q: Float[Tensor, "n classes"]) -> float:
    """Mean over rows of JS(p, q) = H((p + q) / 2) - (H(p) + H(q)) / 2, in bits."""
    p, q = p.double(), q.double()
    mixed, own, other = (special.entr(each).sum(dim=1) for each in ((p + q) / 2, p, q))
    return float((mixed - (own + other) / 2).mean()) / math.log(2)
