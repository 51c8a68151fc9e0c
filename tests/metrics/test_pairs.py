"""What is measured of image-text pairs, against loops in float64."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from tests.metrics.evidence import SIZES, GivenEvidence, random_evidence
from tests.metrics.test_attacks import naive_attack
from unlearn_ray.core.errors import ConfigError, DataError
from unlearn_ray.core.registry import find, parts
from unlearn_ray.data.base import DatasetInfo
from unlearn_ray.data.datasets.captioned_digits import CaptionedDigits
from unlearn_ray.metrics import retrieval_recall
from unlearn_ray.metrics.base import Metric
from unlearn_ray.metrics.pair_alignment_matrices import PairAlignmentMatrices
from unlearn_ray.metrics.pair_attack import PairAttack
from unlearn_ray.metrics.retrieval_recall import KS, RetrievalRecall
from unlearn_ray.quantities import similarity
from unlearn_ray.quantities.base import Pairs, SetName

PAIR_METRICS = {name: m for name, m in parts(Metric).items() if m.needs_captions}


def cosine(a: list[float], b: list[float]) -> float:
    dot = math.fsum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(math.fsum(x * x for x in a) * math.fsum(y * y for y in b))


def captions_of(pairs: Pairs) -> list[list[int]]:
    begins = pairs.begins.tolist()
    rows = pairs.captions.tolist()
    return [rows[begin:end] for begin, end in pairwise(begins)]


def naive_cosines(pairs: Pairs) -> list[float]:
    images, texts = pairs.images.double().tolist(), pairs.texts.double().tolist()
    return [
        math.fsum(cosine(image, texts[row]) for row in rows) / len(rows)
        for image, rows in zip(images, captions_of(pairs), strict=True)
    ]


def naive_recalls(pairs: Pairs) -> list[float]:
    """By lists of wrong candidates that stand before the best right one."""
    images, texts = pairs.images.double().tolist(), pairs.texts.double().tolist()
    own = captions_of(pairs)
    candidates = {row for rows in own for row in rows}
    found: dict[str, list[int]] = {"image": [], "text": []}
    for image, rows in zip(images, own, strict=True):
        best = max(cosine(image, texts[row]) for row in rows)
        wrong = [row for row in candidates if row not in rows]
        found["image"].append(sum(1 for row in wrong if cosine(image, texts[row]) >= best))
    for rows in own:
        for row in rows:
            right = [k for k, others in enumerate(own) if row in others]
            best = max(cosine(images[k], texts[row]) for k in right)
            wrong = [k for k in range(len(own)) if k not in right]
            found["text"].append(sum(1 for k in wrong if cosine(images[k], texts[row]) >= best))
    return [
        100 * sum(1 for before in places if before < k) / len(places)
        for places in found.values()
        for k in KS
    ]


@pytest.mark.parametrize("rows", [7, 1024])
@pytest.mark.parametrize("part", SIZES)
def test_pair_similarity(part: str, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "ROWS_AT_A_TIME", rows)
    evidence = random_evidence(seed=1)
    name = f"pair_similarity_{part}"
    cosines = naive_cosines(evidence.given_pairs[part])
    expected = 100 * math.fsum(cosines) / len(cosines)
    measured = find(Metric, name)().measure(evidence).values
    assert measured == {name: pytest.approx(expected, abs=1e-12)}
    assert 1 < abs(expected) < 100


def test_each_image_counts_once_however_many_captions_it_has() -> None:
    images, texts = torch.eye(2), torch.eye(2)
    pairs = Pairs(images, texts, torch.tensor([0, 0, 1, 0]), torch.tensor([0, 1, 4]))
    evidence = GivenEvidence({"test": torch.zeros(2)}, given_pairs={"test": pairs})
    measured = find(Metric, "pair_similarity_test")().measure(evidence).values
    assert measured["pair_similarity_test"] == pytest.approx(100 * (1 + 1 / 3) / 2)


@pytest.mark.parametrize("forgotten", ["samples", "classes"])
@pytest.mark.parametrize("seed", range(3))
def test_pair_attack_is_that_tried_one_by_one(forgotten: str, seed: int) -> None:
    evidence = random_evidence(seed=seed, forgotten=forgotten)
    scores = {part: naive_cosines(pairs) for part, pairs in evidence.given_pairs.items()}
    expected = naive_attack(evidence, scores, by_class=False)
    found = list(PairAttack().measure(evidence).values.values())
    assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("samples", [4, 23, 1000])
def test_pair_alignment_matrices(samples: int) -> None:
    before = random_evidence(seed=2)
    evidence = random_evidence(seed=1, before=before)
    arrays = PairAlignmentMatrices(samples=samples).measure(evidence).arrays
    assert len(arrays) == 6
    for part in ("forget", "retain"):
        places = list(range(min(samples, SIZES[part])))
        found = [naive_matrix(model.given_pairs[part], places) for model in (before, evidence)]
        for name, expected in [
            (f"{part}_am_before", found[0]),
            (f"{part}_am_after", found[1]),
            (f"{part}_agm", found[0] - found[1]),
        ]:
            torch.testing.assert_close(arrays[name], expected, rtol=0, atol=1e-14)


def naive_matrix(pairs: Pairs, places: list[int]) -> Tensor:
    images, texts = pairs.images.double().tolist(), pairs.texts.double().tolist()
    first = [captions_of(pairs)[place][0] for place in places]
    table = [[cosine(images[place], texts[row]) for row in first] for place in places]
    return torch.tensor(table, dtype=torch.float64)


def looked_up(metric: PairAlignmentMatrices) -> PairAlignmentMatrices:
    metric.check(DatasetInfo(1_000, 10, ("a", "b"), 8, captioned=True))
    return metric


@pytest.mark.parametrize("sets", [("forget", "retain"), ("retain",)])
def test_matrices_of_chosen_pairs(sets: tuple[SetName, ...]) -> None:
    before = random_evidence(seed=2)
    evidence = random_evidence(seed=1, before=before)
    forget, retain = (evidence.ids(part).tolist() for part in ("forget", "retain"))
    chosen = (forget[7], retain[88], forget[2], retain[0], forget[22], retain[31])
    arrays = looked_up(PairAlignmentMatrices(ids=chosen, sets=sets)).measure(evidence).arrays
    assert len(arrays) == 3 * len(sets)
    wanted = {"forget": [7, 2, 22], "retain": [88, 0, 31]}
    for part in sets:
        expected = naive_matrix(evidence.given_pairs[part], wanted[part])
        torch.testing.assert_close(arrays[f"{part}_am_after"], expected, rtol=0, atol=1e-14)
        expected = naive_matrix(before.given_pairs[part], wanted[part]) - expected
        torch.testing.assert_close(arrays[f"{part}_agm"], expected, rtol=0, atol=1e-14)


def test_a_set_without_a_chosen_pair_has_no_rows() -> None:
    evidence = random_evidence(before=random_evidence())
    ids = tuple(evidence.ids("forget").tolist()[:2])
    arrays = looked_up(PairAlignmentMatrices(ids=ids)).measure(evidence).arrays
    assert arrays["forget_agm"].shape == (2, 2)
    assert arrays["retain_agm"].shape == (0, 0)


def test_chosen_pairs_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="ids are of training pairs, and sets has test"):
        PairAlignmentMatrices(ids=(1,), sets=("forget", "test"))
    info = CaptionedDigits(image_size=8).info()
    PairAlignmentMatrices(ids=(info.train_size - 1,)).check(info)
    reason = r"ids: 2 of 3 ids do not name one training sample: '1437', '-1'; .* from 0 to 1436"
    with pytest.raises(ConfigError, match=reason):
        PairAlignmentMatrices(ids=(3, info.train_size, -1)).check(info)
    for odd in (True, 2.0, None):
        with pytest.raises(ValueError, match="valid"):
            PairAlignmentMatrices(ids=(odd,))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="call check"):
        PairAlignmentMatrices(ids=(3,)).identity()


def test_pairs_are_called_what_the_dataset_calls_them() -> None:
    names = ("9.jpg", "a.jpg", "b.jpg")
    info = DatasetInfo(3, 1, (), 8, names, ("1", "7", "2"), captioned=True)
    by_id, by_name = (
        PairAlignmentMatrices(ids=(2, 1)),
        PairAlignmentMatrices(ids=("b.jpg", "9.jpg")),
    )
    for metric in (by_id, by_name):
        metric.check(info)
    assert by_id.identity() == by_name.identity()
    assert by_id.identity()["ids"] == [2, 0]
    with pytest.raises(
        ConfigError, match=r"1 of 1 ids do not name one training sample: '0'; write"
    ):
        PairAlignmentMatrices(ids=(0,)).check(info)


def test_matrices_of_forgotten_pairs_alone() -> None:
    metric = PairAlignmentMatrices(sets=("forget",))
    arrays = metric.measure(random_evidence(before=random_evidence())).arrays
    assert list(arrays) == ["forget_am_before", "forget_am_after", "forget_agm"]
    assert arrays["forget_agm"].shape == (6, 6)
    assert not arrays["forget_agm"].any()


@pytest.mark.parametrize("rows", [4, 512])
@pytest.mark.parametrize("seed", range(3))
def test_retrieval_recall(seed: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval_recall, "ROWS", rows)
    evidence = random_evidence(seed=seed)
    expected = naive_recalls(evidence.given_pairs["test"])
    assert list(RetrievalRecall().measure(evidence).values.values()) == pytest.approx(expected)
    assert 0 <= expected[0] <= expected[1] <= expected[2] <= 100
    assert expected[2] > 0


def recalls(images: Tensor, texts: Tensor, captions: list[int], begins: list[int]) -> list[float]:
    pairs = Pairs(images, texts, torch.tensor(captions), torch.tensor(begins))
    labels = {"test": torch.zeros(len(images))}
    evidence = GivenEvidence(labels, given_pairs={"test": pairs})
    return list(RetrievalRecall().measure(evidence).values.values())


def test_five_captions_of_an_image_are_tried_one_by_one() -> None:
    """The first of two images has five captions, of which two lie at the other image."""
    texts = torch.eye(2)[[0, 0, 0, 1, 1, 1]] + torch.arange(6)[:, None] * 1e-3
    found = recalls(torch.eye(2), texts, [0, 1, 2, 3, 4, 5], [0, 5, 6])
    # The other image has two wrong captions of the first before its own.
    assert found[:3] == [50.0, 100.0, 100.0]
    assert found[3:] == [pytest.approx(100 * 4 / 6), 100.0, 100.0]


def test_prompts_that_images_share_are_right_for_all_of_them() -> None:
    images = torch.eye(3)[[0, 0, 1, 2]]
    assert recalls(images, torch.eye(3), [0, 0, 1, 2], [0, 1, 2, 3, 4]) == [100.0] * 6
    swapped = torch.eye(3)[[1, 1, 0, 2]]
    assert recalls(swapped, torch.eye(3), [0, 0, 1, 2], [0, 1, 2, 3, 4])[::3] == [25.0, 25.0]


def test_a_collapsed_model_finds_nothing() -> None:
    point = torch.randn(1, 65, generator=torch.Generator().manual_seed(0))
    rows = list(range(40))
    found = recalls(point.expand(40, -1), 3 * point.expand(40, -1), rows, [*rows, 40])
    assert found == [0.0] * 6


@pytest.mark.parametrize("name", PAIR_METRICS)
def test_an_empty_set_is_refused(name: str) -> None:
    empty = dict.fromkeys(SIZES, 0)
    with pytest.raises(DataError, match="set of 0 samples"):
        PAIR_METRICS[name]().measure(random_evidence(empty, before=random_evidence(empty)))


def test_what_is_asked_of_pairs_says_so() -> None:
    assert set(PAIR_METRICS) == {
        "pair_alignment_matrices", "pair_attack", "pair_similarity_forget",
        "pair_similarity_retain", "pair_similarity_test", "retrieval_recall",
    }  # fmt: skip
    assert not any(metric.by_default for metric in PAIR_METRICS.values())
    without = random_evidence(before=random_evidence())
    without.given_pairs.clear()
    for metric in PAIR_METRICS.values():
        with pytest.raises(KeyError):
            metric().measure(without)
