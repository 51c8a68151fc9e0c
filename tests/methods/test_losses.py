"""Every method's loss against loops over the family's pieces."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tests.operations import operations
from unlearn_ray.core.batch import Batch
from unlearn_ray.data.forget_sets.random import Random
from unlearn_ray.families.base import ContrastiveFamily, Family, InfoNCE
from unlearn_ray.families.clip import CLIP
from unlearn_ray.families.moco import MoCo
from unlearn_ray.families.simclr import SimCLR
from unlearn_ray.methods.alignment_calibration import AlignmentCalibration, mean_where
from unlearn_ray.methods.base import Method, Task
from unlearn_ray.methods.finetune import Finetune
from unlearn_ray.methods.gradient_ascent import GradientAscent
from unlearn_ray.methods.l1_sparsity import L1Sparsity, l1_norm
from unlearn_ray.methods.neggrad import NegGrad
from unlearn_ray.testing.toy import ToySamples, TwoLayerBackbone, random_batch

FAMILIES = [
    SimCLR(temperature=0.4),
    MoCo(temperature=0.3, queue_size=12, batch_norm_groups=2),
    CLIP(temperature=0.3, embedding_size=7, text_width=8, text_heads=2, text_layers=1),
]


def model_of(family: Family) -> nn.Module:
    torch.manual_seed(0)
    return family.build(TwoLayerBackbone(), 10).double()


def task_of(family: Family) -> Task:
    return Task(family, ToySamples(90, 10))


def pieces_of(family: ContrastiveFamily, batch: Batch) -> InfoNCE:
    """The pieces that a fresh model gives: another call of the same model would advance MoCo."""
    generator = torch.Generator()
    generator.set_state(batch.generator.get_state())
    twin = replace(batch, generator=generator)
    return family.info_nce(model_of(family), twin)


def loss_of(method: Method, family: Family, batch: Batch) -> Tensor:
    return method.loss(model_of(family), batch, task_of(family))


def mean(values: list[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0


def rows(pieces: InfoNCE) -> list[tuple[bool, float, float]]:
    columns = (pieces.is_forget, pieces.positive, pieces.log_sum_exp)
    return list(zip(*(column.tolist() for column in columns), strict=True))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
class TestBaselines:
    def test_finetune(self, family: ContrastiveFamily) -> None:
        batch = random_batch(6, dtype=torch.float64)
        expected = mean([lse - positive for _, positive, lse in rows(pieces_of(family, batch))])
        assert loss_of(Finetune(), family, batch).item() == pytest.approx(expected)

    def test_gradient_ascent(self, family: ContrastiveFamily) -> None:
        batch = random_batch(6, tuple(range(6)), dtype=torch.float64)
        expected = -mean([lse - positive for _, positive, lse in rows(pieces_of(family, batch))])
        assert loss_of(GradientAscent(), family, batch).item() == pytest.approx(expected)

    @pytest.mark.parametrize("forget", [(), (2,), (0, 3), (0, 1, 2, 3, 4, 5)])
    def test_neggrad(self, family: ContrastiveFamily, forget: tuple[int, ...]) -> None:
        batch = random_batch(6, forget, dtype=torch.float64)
        signed = [
            -(lse - positive) if is_forget else lse - positive
            for is_forget, positive, lse in rows(pieces_of(family, batch))
        ]
        assert loss_of(NegGrad(), family, batch).item() == pytest.approx(mean(signed))

    def test_l1_sparsity(self, family: ContrastiveFamily) -> None:
        batch = random_batch(6, dtype=torch.float64)
        model = model_of(family)
        norm = math.fsum(
            abs(value)
            for name, weight in model.named_parameters()
            if not name.startswith("key_")
            for value in weight.flatten().tolist()
        )
        criterion = mean([lse - positive for _, positive, lse in rows(pieces_of(family, batch))])
        loss = loss_of(L1Sparsity(coefficient=0.01), family, batch)
        assert loss.item() == pytest.approx(criterion + 0.01 * norm)


def test_the_gradient_of_the_l1_norm_is_the_sign() -> None:
    torch.manual_seed(0)
    weights = [torch.randn(shape) for shape in [(3, 2, 2, 2), (4, 3), (5,), ()]]
    weights[0] = weights[0].to(memory_format=torch.channels_last)
    weights[1][0] = 0
    trained = [weight.requires_grad_() for weight in weights]
    norm = l1_norm(trained)
    values = [value for weight in weights for value in weight.flatten().tolist()]
    assert norm.item() == pytest.approx(math.fsum(map(abs, values)))
    gradients = torch.autograd.grad(0.25 * norm, trained)
    for weight, gradient in zip(weights, gradients, strict=True):
        assert torch.equal(gradient, 0.25 * weight.detach().sign())
        assert gradient.stride() == weight.stride()


def test_the_l1_norm_of_many_weights_takes_as_many_operations_as_that_of_one() -> None:
    def counted(count: int) -> int:
        weights = [torch.randn(3, 2).requires_grad_() for _ in range(count)]
        return operations(lambda: torch.autograd.grad(l1_norm(weights), weights))

    assert counted(30) == counted(1)


@pytest.mark.parametrize(("epochs", "batches"), [(1, 1), (4, 3), (10, 7), (49, 13)])
def test_l1_sparsity_decays_by_the_epoch(epochs: int, batches: int) -> None:
    """Jia et al.: in epoch e of E, counted from 0, the coefficient is alpha (1 - e / E)."""
    family = SimCLR()
    method = L1Sparsity(coefficient=0.01, coefficient_schedule="linear", epochs=epochs)
    batch = random_batch(6, dtype=torch.float64)
    free = loss_of(L1Sparsity(coefficient=0), family, batch).item()
    norm = loss_of(L1Sparsity(coefficient=1), family, batch).item() - free
    total = epochs * batches
    for iteration in {*range(0, total, max(1, total // 40)), total - 1}:
        now = replace(batch, done=iteration / total)
        epoch = iteration // batches
        expected = free + 0.01 * (1 - epoch / epochs) * norm
        assert loss_of(method, family, now).item() == pytest.approx(expected)
        constant = replace(method, coefficient_schedule="constant")
        assert loss_of(constant, family, now).item() == pytest.approx(free + 0.01 * norm)


def equation_5(method: AlignmentCalibration, pieces: InfoNCE) -> float:
    retain, positives, sums, negatives = [], [], [], []
    for anchor, (is_forget, positive, lse) in enumerate(rows(pieces)):
        if not is_forget:
            retain.append(lse - positive)
            continue
        tempered = method.positive_similarity == "tempered"
        temperature = 1.0 if tempered else float(torch.as_tensor(pieces.temperature).detach())
        positives.append(positive * temperature)
        sums.append(lse)
        negatives += [
            pieces.similarities[anchor, candidate].item()
            for candidate in range(pieces.similarities.shape[1])
            if pieces.candidate_is_forget[candidate] and not pieces.same_image[anchor, candidate]
        ]
    epsilon = 10 / 90 if method.epsilon is None else method.epsilon
    gamma = method.alpha if method.gamma is None else method.gamma
    unlearn = -method.alpha * mean(negatives) + method.beta * mean(positives) + gamma * mean(sums)
    return mean(retain) + epsilon * unlearn


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
class TestAlignmentCalibration:
    @pytest.mark.parametrize("forget", [(), (2,), (0, 3), (1, 2, 5), (0, 1, 2, 3, 4, 5)])
    @pytest.mark.parametrize(
        "method",
        [
            AlignmentCalibration(),
            AlignmentCalibration(alpha=0.5, beta=3.0, gamma=2.0),
            AlignmentCalibration(alpha=0.5),
            AlignmentCalibration(beta=3.0, positive_similarity="cosine"),
            AlignmentCalibration(epsilon=0.7),
            AlignmentCalibration(alpha=0, beta=0, gamma=0),
            AlignmentCalibration(epsilon=0),
        ],
        ids=["defaults", "weights", "gamma is alpha", "cosine", "epsilon", "nothing", "retain"],
    )
    def test_loss(
        self, family: ContrastiveFamily, method: AlignmentCalibration, forget: tuple[int, ...]
    ) -> None:
        batch = random_batch(6, forget, dtype=torch.float64)
        expected = equation_5(method, pieces_of(family, batch))
        assert loss_of(method, family, batch).item() == pytest.approx(expected)

    def test_cosine_is_beta_times_temperature(self, family: ContrastiveFamily) -> None:
        code = AlignmentCalibration(beta=4.0, positive_similarity="cosine")
        paper = AlignmentCalibration(beta=4.0 * family.temperature)
        batches = [random_batch(6, (0, 3), dtype=torch.float64) for _ in range(2)]
        losses = [
            loss_of(method, family, batch)
            for method, batch in zip((code, paper), batches, strict=True)
        ]
        torch.testing.assert_close(losses[0], losses[1])

    @pytest.mark.parametrize("forget", [(), (2,), (0, 3)])
    def test_gradients_are_finite_and_equal_differences(
        self, family: ContrastiveFamily, forget: tuple[int, ...]
    ) -> None:
        method = AlignmentCalibration(alpha=0.7, beta=2.0, gamma=1.3)
        model = model_of(family)
        method.loss(model, random_batch(6, forget, dtype=torch.float64), task_of(family)).backward()
        gradient = model.backbone.linear.weight.grad
        trained = [weight.grad for weight in model.parameters() if weight.requires_grad]
        assert all(torch.isfinite(each).all() for each in trained)
        for index in [(0, 0), (1, 2), (4, 5)]:
            values = []
            for step in (1e-6, -1e-6):
                moved = model_of(family)
                if isinstance(family, MoCo):
                    # The keys must not move with the queries, as they do not in the gradient.
                    moved.follow = lambda momentum: None  # type: ignore[assignment]
                with torch.no_grad():
                    moved.backbone.linear.weight[index] += step
                batch = random_batch(6, forget, dtype=torch.float64)
                values.append(method.loss(moved, batch, task_of(family)).item())
            difference = (values[0] - values[1]) / 2e-6
            assert gradient[index].item() == pytest.approx(difference, rel=1e-4, abs=1e-8)

    def test_descending_separates_views_and_gathers_forget_images(
        self, family: ContrastiveFamily
    ) -> None:
        """The point of the method, on a batch that is all forget set."""
        method = AlignmentCalibration(alpha=1.0, beta=5.0, gamma=0.0, epsilon=1.0)
        model = model_of(family)
        optimiser = torch.optim.SGD([w for w in model.parameters() if w.requires_grad], lr=0.05)
        before = after = None
        for _ in range(20):
            batch = random_batch(8, tuple(range(8)), dtype=torch.float64)
            loss = method.loss(model, batch, task_of(family))
            before = loss.item() if before is None else before
            after = loss.item()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        assert after < before - 0.5


def test_alignment_calibration_refuses_families_without_negatives() -> None:
    class Distilled(Family):
        name = "distilled"

    reason = AlignmentCalibration.unsupported(Distilled(), Random())
    assert reason == (
        "alignment_calibration needs a contrastive family; distilled has no negatives"
    )
    assert AlignmentCalibration.unsupported(SimCLR(), Random()) is None


def test_mean_where() -> None:
    values = torch.tensor([1.0, torch.inf, 3.0], requires_grad=True)
    result = mean_where(torch.tensor([True, False, True]), values)
    result.backward()
    assert result.item() == 2
    assert values.grad.tolist() == [0.5, 0, 0.5]
    assert mean_where(torch.zeros(3, dtype=torch.bool), values).item() == 0


def test_recipes_are_the_papers() -> None:
    """MUC, appendix A.2."""
    for method in (Finetune(), NegGrad(), L1Sparsity(), AlignmentCalibration()):
        assert (method.epochs, method.batch_size, method.learning_rate) == (10, 512, 0.006)
    ascent = GradientAscent()
    assert ascent.epochs == 5
    assert 1e-6 <= ascent.learning_rate <= 1e-4
    for each in (Finetune(), NegGrad(), L1Sparsity(), AlignmentCalibration(), ascent):
        assert (each.momentum, each.weight_decay, each.schedule) == (0.9, 5e-4, "constant")
