"""What one iteration may cost on a GPU: lower these numbers whenever the code does.

Launches are operations of PyTorch that reach the device, for images of 8 x 8 pixels. If there are
more, the failing test says which lines launch most.
"""

from __future__ import annotations

# Launches, and copies from the host, of an iteration. Families, by SGD, and probes have a
# ResNet-18, optimizers a supervised ResNet-8.
BUDGETS = {
    "byol": (796, 1),
    "clip": (488, 1),
    "moco": (849, 2),
    "simclr": (538, 1),
    "simsiam": (566, 1),
    "supervised": (267, 1),
    "supervised by sgd": (157, 1),
    "supervised by adam": (159, 1),
    "supervised by adamw": (159, 1),
    "supervised by lars": (177, 1),
    "probe cached": (10, 0),
    "probe cached_views": (10, 0),
    "probe augmented": (81, 2),
    "relearning": (328, 1),
}
# Another version of PyTorch may add a few.
SLACK = 1.03


def spent(case: str, found: dict[str, float], launching: list[str]) -> str:
    """What a case costs more than it may; empty if it keeps within its budget."""
    launches, copies = found["launch"], found["pinned"]
    assert launches > 0, "nothing was counted"
    if case not in BUDGETS:
        return f"add it to budgets.py: {launches:g} launches, {copies:g} copies"
    most_launches, most_copies = BUDGETS[case]
    if launches <= most_launches * SLACK and copies <= most_copies:
        return ""
    return "\n".join([
        f"{launches:g} launches and {copies:g} copies; {most_launches} and {most_copies} at most",
        *launching,
    ])  # fmt: skip
