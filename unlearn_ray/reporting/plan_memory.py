"""The memory of a GPU that a plan's steps need, as a line of the plan."""

from __future__ import annotations

from unlearn_ray.config.sweep_schema import Study, Sweep
from unlearn_ray.train.step_memory import step_memory


def memory_lines(sweep: Sweep) -> list[str]:
    """Roughly what the updates of training and of each method need; nothing without GPUs."""
    of = []
    if sweep.resources.training.gpus and sweep.setting.training.epochs:
        of.append(f"{_gb(training_memory(sweep))} for training")
    needed = {study.name: study_memory(study, sweep) for study in sweep.studies}
    if sweep.resources.trial.gpus and needed:
        most = max(needed, key=lambda name: needed[name])
        of.append(f"{_gb(needed[most])} for a trial ({most})")
    return ["", f"Memory of a GPU, about: {', '.join(of)}."] if of else []


def training_memory(sweep: Sweep) -> int:
    """Bytes for pretraining and retraining, about."""
    setting = sweep.setting
    images = setting.training.batch_size * setting.family.views
    return _memory(sweep, images, 0, 0, graphs=sweep.resources.training.graphs)


def study_memory(study: Study, sweep: Sweep) -> int:
    """Bytes for a method, about, with the largest batches of its study."""
    views = sweep.setting.family.views
    kept = [study.at(point).images_kept() for point in study.corners()]
    # Most methods keep the original.
    graphs = sweep.resources.trial.graphs
    return max(_memory(sweep, views * half, views * full, 1, graphs=graphs) for half, full in kept)


def _memory(sweep: Sweep, half: int, full: int, copies: int, *, graphs: bool) -> int:
    if graphs:  # an iteration that is not replayed has memory of its own
        half, full = 2 * half, 2 * full
    info = sweep.setting.dataset.info()
    pixels = 3 * info.image_size**2 * (info.train_size + info.test_size)
    model = sweep.setting.model
    return step_memory(model, info.image_size, half=half, full=full, copies=copies, data=pixels)


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
