"""The steps of the reference models: those that train them, or bring them."""

from __future__ import annotations

from unlearn_ray.layouts.brought import Role
from unlearn_ray.steps.base import Step
from unlearn_ray.steps.kinds.bring import Bring
from unlearn_ray.steps.kinds.pretrain import Pretrain
from unlearn_ray.steps.kinds.retrain import Retrain
from unlearn_ray.steps.setting import Setting

TRAININGS: dict[Role, type[Pretrain]] = {"original": Pretrain, "retrained": Retrain}


def reference(role: Role, setting: Setting, seed: int, replicate: int = 0) -> Step:
    """The step that trains or brings a reference model of a run."""
    if setting.brought(role) is None:
        return TRAININGS[role](setting=setting, seed=seed, replicate=replicate)
    return Bring(setting=setting, seed=seed, replicate=replicate, role=role)


def kinds_of(setting: Setting) -> tuple[type[Step], ...]:
    """The kinds of the steps that train or bring the reference models of a setting."""
    return tuple(
        training if setting.brought(role) is None else Bring for role, training in TRAININGS.items()
    )


def role_of(model: Step) -> Role | None:
    """Which reference model a step trains or brings; None if neither."""
    return model.role if isinstance(model, Pretrain | Bring) else None
