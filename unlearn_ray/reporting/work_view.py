"""The work that a plan leaves as a table: models, epochs, hours and money."""

from __future__ import annotations

from collections.abc import Sequence

from unlearn_ray.config.auto_gpu import Devices
from unlearn_ray.reporting.estimate import Part, by_the_clock, parts_of
from unlearn_ray.reporting.grid import aligned
from unlearn_ray.reporting.prices import CPU, Prices
from unlearn_ray.reporting.words import duration
from unlearn_ray.studies.plan import Plan


def work_view(plan: Plan) -> str:
    """Models and epochs of all that a plan leaves to run."""
    rows = [[part.what, f"{part.models:,}", part.epochs or "-"] for part in parts_of(plan)]
    return aligned([["Work left", "models", "epochs each"], *rows])


def estimate_view(
    plan: Plan, parts: Sequence[Part], devices: Devices, prices: Prices | None
) -> str:
    """The same with hours, what tells of them and, with prices, money.

    Args:
        plan: with numbers of GPUs.
        parts: of it, with durations.
        devices: that it will run on.
        prices: of accelerator hours; None shows no money.
    """
    head = ["Work left", "models", "epochs each", "time each", "accelerator hours"]
    costs = [_cost(part, devices, prices) for part in parts]
    rows = [
        [part.what, f"{part.models:,}", part.epochs or "-", *_times(part)]
        + ([] if prices is None else [_money(cost)])
        + [part.source]
        for part, cost in zip(parts, costs, strict=True)
    ]
    if prices is not None:
        head.append(prices.currency)
    lines = [aligned([[*head, "from"], *rows]), *_sums(plan, parts, devices)]
    if prices is not None:
        lines.append(_sum_of_money(parts, costs, prices))
    return "\n".join(lines)


def _times(part: Part) -> list[str]:
    if part.seconds is None or part.hours is None:
        return ["?", "?"]
    seconds = part.seconds
    return [duration(seconds) if seconds >= 10 else f"{seconds:.2g} s", _number(part.hours)]


def _number(value: float) -> str:
    """Two digits after the point, or two that are not zero."""
    return f"{value:,.2f}" if value >= 1 else f"{value:.2g}"


def _sums(plan: Plan, parts: Sequence[Part], devices: Devices) -> list[str]:
    known = [part for part in parts if part.hours is not None]
    if not known:
        return ["How long it takes is unknown."]
    some = "" if len(known) == len(parts) else ", without the lines that have none"
    sums = []
    for of_gpus, what in ((True, "GPU"), (False, "CPU")):
        hours = [part.hours or 0.0 for part in known if (part.resources.gpus > 0) is of_gpus]
        if hours:
            sums.append(f"{_number(sum(hours))} {what} hours")
    clock = duration(by_the_clock(plan, known, devices.nodes))
    on = "by the clock, if nothing else runs there" if devices.nodes else "one after another"
    return [f"In all about {' and '.join(sums)}{some}: {clock} {on}."]


def _cost(part: Part, devices: Devices, prices: Prices | None) -> float | None:
    if prices is None or part.hours is None:
        return None
    every = devices.names or ("GPU",)
    names = every if part.resources.gpus else (CPU,)
    known = [price for price in map(prices.of, names) if price is not None]
    # Of several models of GPUs, the dearest.
    return part.hours * max(known) if len(known) == len(names) else None


def _money(cost: float | None) -> str:
    return "?" if cost is None else _number(cost)


def _sum_of_money(parts: Sequence[Part], costs: Sequence[float | None], prices: Prices) -> str:
    known = [cost for cost in costs if cost is not None]
    least = "" if len(known) == len(parts) else "at least "
    return f"In money: {least}{_number(sum(known))} {prices.currency}."
