"""The model card of an exported model: what it is, what it forgot, how near it is to retraining."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unlearn_ray.core.printable import printable
from unlearn_ray.core.runs import ORIGINAL, RETRAIN
from unlearn_ray.core.words import counted
from unlearn_ray.reporting.declared import headers_of, metrics_of
from unlearn_ray.reporting.grid import markdown_grid
from unlearn_ray.storage.stored import json_value
from unlearn_ray.takeaway.choice import Choice
from unlearn_ray.takeaway.description import Description
from unlearn_ray.takeaway.forgotten import Counts

_KINDS = {
    RETRAIN: "a model that was trained from scratch without the forget set",
    ORIGINAL: "the original model, which was trained with the forget set",
}
_OUTPUTS = {
    "logits": "logits of the classes below, in their order",
    "features": "features of its backbone; the head that it was trained with is not among them",
    "embeddings": "normalised embeddings of images in the space of captions",
}


def card(
    choice: Choice, description: Description, counts: Mapping[int, Counts], library: str, note: str
) -> str:
    """The card, in Markdown.

    Args:
        choice: the model, with its row.
        description: of the model.
        counts: training images by label; empty if they are unknown.
        library: that loads it.
        note: what the library's version of the model lacks; empty if nothing.
    """
    parts = [
        f"---\nlibrary_name: {library}\ntags:\n- machine-unlearning\n---",
        f"# {printable(choice.sweep)}: {printable(choice.study)}",
        *_about(choice, note),
        "## What it forgot",
        *_forgotten(choice, description, counts),
        *_method(choice),
        "## How near it is to retraining",
        *_metrics(choice),
        "## Images and outputs",
        *_images(description),
        "## Where it is from",
        _provenance(choice),
    ]
    return "\n\n".join(parts) + "\n"


def _about(choice: Choice, note: str) -> list[str]:
    row = choice.row
    kind = _KINDS.get(choice.study, f"a model unlearned by {printable(str(row.get('method')))}")
    told = ", ".join(printable(str(row.get(name))) for name in ("dataset", "family", "model"))
    run = f"seed {row['seed']}, replicate {row['replicate']}"
    about = f"This is {kind} ({told}), of the run with {run}."
    load = (
        "`load.py` loads it and compares its outputs with those in `reference.safetensors`, on"
        " random images: run `python load.py`."
    )
    return [about, *([note] if note else []), load]


def _forgotten(choice: Choice, description: Description, counts: Mapping[int, Counts]) -> list[str]:
    rule = f"Forget set: {printable(str(choice.row.get('forget_set')))}."
    if not counts:
        return [rule]
    total = sum(each.forgotten for each in counts.values())
    of = sum(each.forgotten + each.retained for each in counts.values())
    text = f"{rule} {counted(total, 'training image')} of {of:,}; the card names none of them."
    if not description.class_names:
        return [text]
    grid = [["Class", "Forgotten", "Retained", "Validation"]]
    for label, name in enumerate(description.class_names):
        of_class = counts.get(label, Counts(0, 0, 0))
        numbers = (of_class.forgotten, of_class.retained, of_class.held_out)
        grid.append([name, *(f"{number:,}" for number in numbers)])
    return [text, markdown_grid(grid)]


def _method(choice: Choice) -> list[str]:
    text = choice.row.get("hyperparameters")
    if text is None:
        return []
    try:
        values = json_value(str(text))
    except ValueError:
        values = {}
    grid = [["Hyperparameter", "Value"]]
    grid += [[name, f"{value}"] for name, value in values.items()]
    method = f"Method: {printable(str(choice.row.get('method')))}, trial {choice.row.get('trial')}."
    return ["## How", method, markdown_grid(grid)]


def _metrics(choice: Choice) -> list[str]:
    row, line = choice.row, choice.line
    grid = [["Metric", "This model", "Retrained", "Gap"]]
    for column, header in headers_of(metrics_of(row.keys())).items():
        if column in row:
            cells = (row.get(f"{column}{of}") for of in ("", "_retrained", "_gap"))
            grid.append([header, *(_number(cell) for cell in cells)])
    text = []
    if "average_gap" in row:
        text.append(f"Average gap of this model: {_number(row['average_gap'])} percentage points.")
    if "average_gap_of_means" in line:
        runs = counted(int(line.get("runs", 1)), "run")
        gap = _number(line["average_gap_of_means"])
        text.append(f"Of the means over {runs} of {printable(choice.study)}: {gap}.")
    if "verdict" in line:
        text.append(f"Verdict over its runs: {line['verdict']}.")
    return [markdown_grid(grid), *([" ".join(text)] if text else [])]


def _images(description: Description) -> list[str]:
    size = description.image_size
    text = (
        f"Images of {size} x {size} pixels, RGB, scaled to [0, 1] and normalised by mean"
        f" {_listed(description.mean)} and standard deviation {_listed(description.std)}."
        f" Output: {_OUTPUTS[description.output]}."
    )
    if not description.class_names:
        return [text]
    names = ", ".join(map(printable, description.class_names))
    return [text, f"Classes: {names}."]


def _provenance(choice: Choice) -> str:
    record, row = choice.record, choice.row
    facts: dict[str, Any] = {"Sweep": choice.sweep, "Key": f"{record.kind} {record.key}"}
    facts |= {role.capitalize(): key for role, key in sorted(record.inputs.items())}
    facts |= {"Retrained": row["key_retrained"]} if "key_retrained" in row else {}
    machine = (record.result.get(name) for name in ("device", "kernels", "threads"))
    facts["Made on"] = ", ".join(str(each) for each in machine if each is not None)
    facts["Made at"] = record.created
    facts |= {f"Version of {name}": of for name, of in sorted(record.versions.items())}
    return markdown_grid([["Fact", "Value"], *([name, str(of)] for name, of in facts.items())])


def _listed(values: tuple[float, ...]) -> str:
    return f"({', '.join(f'{value:g}' for value in values)})"


def _number(value: Any) -> str:
    return "-" if value is None else f"{float(value):.2f}"
