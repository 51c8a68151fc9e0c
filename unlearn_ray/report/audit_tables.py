"""An audit as tables of a page."""

from __future__ import annotations

from unlearn_ray.report.audit import WHEN, Audit, ModelAudit, SampleAudit, mean_loss
from unlearn_ray.report.tables import ShownTable

# Lines of the table of samples: a page stays readable, and its file has them all.
_MOST = 300
_NONE = "-"


def audit_tables(found: Audit) -> list[ShownTable]:
    """What was asked and found, each sample, and each link of each chain."""
    return [_summary(found), _samples(found), *(_chain(one) for one in found.models)]


def _summary(found: Audit) -> ShownTable:
    header = ["Study", "Model", "Named", "Forgotten", "Retained", "In validation", "In no set"]
    grid = [[*header, *(f"Mean loss {when}" for when in WHEN), "Chain"]]
    for one in found.models:
        counts = one.counts()
        parts = [f"{counts[part]:,}" for part in ("forget", "retain", "validation", "")]
        losses = [_number(mean_loss(one.samples, when)) for when in WHEN]
        chain = "intact" if one.intact else "broken"
        run = f"seed {one.run.seed}, replicate {one.run.replicate}"
        grid.append([one.study, run, f"{len(one.samples):,}", *parts, *losses, chain])
    users = found.request.users
    asked = "" if users is None else f" of {users:,} users"
    notes = (
        f"Asked for: {len(found.request.samples):,} samples{asked}; SHA-256 of the file "
        f"{found.request.file}.",
        "Named samples are never held out for validation; the sets are those that the models were "
        "trained and measured on.",
        *(f"{one.study}: {reason}" for one in found.models for reason in one.missing),
    )
    return ShownTable("What was asked for, and what became of it", grid, notes)


def _samples(found: Audit) -> ShownTable:
    header = ["Sample", "Set", "Study"]
    header += [f"{name} {when}" for when in WHEN for name in ("Loss", "Confidence", "As confident")]
    lines = [
        [sample.name, sample.part or _NONE, one.study, *_scores(sample)]
        for one in found.models
        for sample in one.samples
    ]
    more = len(lines) - _MOST
    notes = (
        "Loss is cross-entropy in nats, confidence log p - log(1 - p). As confident: the share of "
        "test samples of its class of which the model is at least as confident; small if the model "
        "knows the sample better than unseen ones.",
        *((f"and {more:,} more lines, which the file of the audit has",) if more > 0 else ()),
    )
    return ShownTable("Each sample", [header, *lines[:_MOST]], notes)


def _scores(sample: SampleAudit) -> list[str]:
    cells: list[str] = []
    for when in WHEN:
        known = sample.scores.get(when)
        if known is None:
            cells += [_NONE] * 3
        else:
            cells += map(_number, (known.loss, known.confidence, known.as_confident))
    return cells


def _chain(model: ModelAudit) -> ShownTable:
    grid = [["Link", "Step", "Inputs", "File", "SHA-256", "State"]]
    for link in model.chain:
        state = link.problem or "as written"
        if link.record is None:
            grid.append([link.role, _NONE, _NONE, _NONE, _NONE, state])
            continue
        step = f"{link.record.kind} {link.record.key}"
        inputs = ", ".join(link.record.inputs.values()) or _NONE
        grid.append([link.role, step, inputs, "its record", link.digest, state])
        for name, file in sorted(link.record.files.items()):
            grid.append([link.role, step, inputs, name, file.sha256, state])
    return ShownTable(f"From the original to {model.study}, and what measured it", grid)


def _number(value: float | None) -> str:
    return _NONE if value is None else f"{value:.3g}"
