"""Sweep files of pages, whole or in part: read and planned.

A part is put in a small sweep in place of its fields. Where a page gives alternatives, a field
several times, each is a sweep.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml

from unlearn_ray.config.sweep_file import load_sweep
from unlearn_ray.config.sweep_schema import Sweep
from unlearn_ray.storage.store import open_store
from unlearn_ray.studies.plan import make_plan

BASE = """\
dataset: {digits: {image_size: 32}}
validation: 0.1
forget_set: {classes: {classes: [7]}}
model: {resnet8: {width: 4}}
family: supervised
training: {epochs: 1, batch_size: 64, learning_rate: 0.05}
methods:
  scrub: {epochs: 1, learning_rate: {log_uniform: [0.001, 0.1]}, alpha: {uniform: [0, 1]}}
seeds: {tuning: [0], reporting: [1]}
"""
# In its place for a dataset whose images are unlabelled.
CAPTIONS = """\
dataset: captioned_digits
validation: 0.1
forget_set: {random: {fraction: 0.1}}
model: {resnet8: {width: 4}}
family: {clip: {embedding_size: 64, context_length: 24, text_width: 64, text_layers: 2}}
metrics: [pair_similarity_forget]
methods:
  finetune: {epochs: 1}
seeds: {tuning: [0], reporting: [1]}
"""
# Those of others would be downloaded to plan.
HERE = ("digits", "captioned_digits", "image_folder", "hugging_face", "torchvision")


def sweeps(text: str) -> Iterator[str]:
    """Each sweep that a block has, as the text of a whole file."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(node, yaml.MappingNode), "a sweep is a mapping"
    count = _alternatives(node)
    for number in range(count):
        chosen = node if count == 1 else _chosen(node, number)
        names = {key.value for key, _ in chosen.value}
        if {"dataset", "methods"} <= names:
            yield text if count == 1 else yaml.serialize(chosen)
            continue
        whole = CAPTIONS if "label: null" in yaml.serialize(chosen) else BASE
        base = yaml.compose(whole, Loader=yaml.SafeLoader)
        base.value = [pair for pair in base.value if pair[0].value not in names]
        base.value += chosen.value
        yield yaml.serialize(base)


def planned(text: str, folder: Path) -> Sweep:
    """The sweep of a whole file; planned, too, where its data is there.

    Raises:
        UnlearnRayError: what is wrong with it.
    """
    path = folder / "page.yaml"
    path.write_text(text, encoding="utf-8")
    sweep = load_sweep(path)
    if sweep.setting.dataset.name in HERE:
        make_plan(sweep, open_store(str(folder / "store")))
    return sweep


def _alternatives(node: yaml.Node) -> int:
    """How often a field is given, at most."""
    if isinstance(node, yaml.MappingNode):
        names = [key.value for key, _ in node.value]
        here = max((names.count(name) for name in names), default=1)
        return max([here, *(_alternatives(value) for _, value in node.value)])
    inside = node.value if isinstance(node, yaml.SequenceNode) else ()
    return max((_alternatives(each) for each in inside), default=1)


def _chosen(node: yaml.Node, number: int) -> yaml.Node:
    """The node with one of each field's alternatives: the last, where there are fewer."""
    if not isinstance(node, yaml.MappingNode):
        return node
    each: dict[str, list[tuple[yaml.Node, yaml.Node]]] = {}
    for key, value in node.value:
        each.setdefault(key.value, []).append((key, value))
    pairs = [given[min(number, len(given) - 1)] for given in each.values()]
    return yaml.MappingNode(node.tag, [(key, _chosen(value, number)) for key, value in pairs])
