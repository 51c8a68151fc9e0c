"""What the membership attacks share: who is told from whom, thresholds, and how they are scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import isin

from unlearn_ray.core.errors import DataError
from unlearn_ray.core.schema import schema
from unlearn_ray.metrics.accuracy import require_samples
from unlearn_ray.metrics.base import Measurement, Metric, Observed
from unlearn_ray.quantities.base import SetName

Scores = Float[np.ndarray, " n"]


@dataclass(frozen=True)
class AttackSplit:
    """Whom an attack learns from, and on whom it is tried beside the forget set.

    Attributes:
        members: so many retain samples, the first in the seed's permuted order, are learnt from.
        learnt: the test samples that are learnt from.
        tried: the test samples that it is tried on.
    """

    members: int
    learnt: Bool[np.ndarray, " test"]
    tried: Bool[np.ndarray, " test"]


@dataclass(frozen=True)
class AttackOutput:
    """What an attack says of the samples of one side.

    Attributes:
        scores: the larger, the more a member; what the ROC curve sweeps.
        taken: whether the attack takes the sample for a member.
    """

    scores: Scores
    taken: Bool[np.ndarray, " n"]


@schema
class Attack(Metric):
    """A membership attack: does it tell the forget set from samples that no model has seen?

    It learns from retain samples as members and test samples as non-members, and is tried on the
    forget set as members and on *other* test samples as non-members. These are of the forget
    set's classes alone, since telling dogs from other animals would be no membership test: of
    each, every other test sample, the first included. The rest of the test set is learnt from,
    and as many retain samples.

    Of a class that is forgotten whole no retain sample can be learnt from, so every test sample
    is tried and none learnt from.

    Columns, in percent, of which the printed table has the first two:
        success: mean of the rates at which members and non-members are recognised. 50 is
            chance, and what unlearning should reach.
        auc: area under the ROC curve, equal scores counting half. 50 is chance.
        tpr_at_1, tpr_at_0_1: the largest share of the forget set that a threshold recognises
            while at most 1 % (0.1 %) of the tried test samples are taken for members; equal
            scores are taken together or not at all. With fewer than 100 (1,000) such samples,
            not one of them may be. Chance is at most 1 (0.1).
    """

    def measure(self, model: Observed) -> Measurement:
        """How well the attack does.

        Raises:
            DataError: a set is empty, or nobody is left to learn from or to be tried on.
        """
        members, non_members = self.attack(model, attack_split(model))
        return Measurement(dict(zip(self.columns, success(members, non_members), strict=True)))

    def attack(self, model: Observed, split: AttackSplit) -> tuple[AttackOutput, AttackOutput]:
        """On the forget set, and on the tried test samples."""
        raise NotImplementedError


@schema
class ThresholdAttack(Attack):
    """An attack that sees one number of a sample: members lie at or above a threshold.

    The threshold is an observed number with the best success rate among those learnt from, the
    lowest of equals. Where it depends on the class, a class of which not both sides have samples
    to learn from (one that is forgotten whole, say) has the threshold learnt from all classes.
    The ROC curve sweeps one threshold for all classes, as is usual. Measuring each score from its
    class's threshold instead would rank by the thresholds' errors where scores saturate, and
    hide what an attack recognises at low false-positive rates.

    Class attributes:
        by_class: whether every class has a threshold of its own.
    """

    by_class: ClassVar[bool] = True

    def scores(self, model: Observed, part: SetName, limit: int) -> Scores:
        """The number, of the first `limit` samples of a set; the larger, the more a member."""
        raise NotImplementedError

    def attack(self, model: Observed, split: AttackSplit) -> tuple[AttackOutput, AttackOutput]:
        """Each sample's number, and whether it reaches its threshold."""
        retain, forget, test = (
            model.labels(part).numpy() if self.by_class else np.zeros(model.size(part), int)
            for part in ("retain", "forget", "test")
        )
        of_test = self.scores(model, "test", model.size("test"))
        thresholds = class_thresholds(
            self.scores(model, "retain", split.members),
            retain[: split.members],
            of_test[split.learnt],
            test[split.learnt],
            classes=1 + max(forget.max(), test.max(), retain.max()),
        )
        of_forget = self.scores(model, "forget", model.size("forget"))
        of_tried, tried = of_test[split.tried], test[split.tried]
        return (
            AttackOutput(of_forget, of_forget >= thresholds[forget]),
            AttackOutput(of_tried, of_tried >= thresholds[tried]),
        )


def attack_columns(name: str, header: str) -> dict[str, str]:
    """The columns of an attack, with their headers."""
    return {
        name: f"{header}, success",
        f"{name}_auc": f"{header}, AUC",
        f"{name}_tpr_at_1": f"{header}, TPR at 1 % FPR",
        f"{name}_tpr_at_0_1": f"{header}, TPR at 0.1 % FPR",
    }


def tail_columns(name: str) -> frozenset[str]:
    """Those of the low false-positive rates, which would fill the printed table."""
    return frozenset({f"{name}_tpr_at_1", f"{name}_tpr_at_0_1"})


def attack_split(model: Observed) -> AttackSplit:
    """Whom the attacks on this model learn from, and on whom they are tried.

    Raises:
        DataError: a set is empty, or nobody is left to learn from or to be tried on.
    """
    require_samples(model, "retain", "forget", "test")
    retain, forget, test = (model.labels(part) for part in ("retain", "forget", "test"))
    kept, forgotten = isin(test, retain).numpy(), isin(test, forget).numpy()
    even = place_in_class(test.numpy()) % 2 == 0
    tried = forgotten & (even | ~kept)
    learnt = kept & ~tried
    for chosen, purpose in ((learnt, "learn an attack from"), (tried, "try an attack on")):
        if not chosen.any():
            raise DataError(
                f"test set of {len(test)} samples",
                f"has none to {purpose}: that takes one of a retained class, and another one of "
                "the forget set's classes",
                "choose another dataset or forget set",
            )
    return AttackSplit(members=min(int(learnt.sum()), len(retain)), learnt=learnt, tried=tried)


def place_in_class(labels: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """How many samples of the same class stand before each."""
    order = np.argsort(labels, kind="stable")
    ordered = labels[order]
    places = np.empty_like(order)
    places[order] = np.arange(len(labels)) - np.searchsorted(ordered, ordered, side="left")
    return places


def best_threshold(members: Scores, non_members: Scores, candidates: Scores | None = None) -> float:
    """The first of the candidates that best tell both sides apart; >= is a member.

    Both sides weigh the same. Whole numbers are compared, so that equally good thresholds tie
    exactly.

    Args:
        members, non_members: the scores of each side.
        candidates: in ascending order; the observed scores if not given.
    """
    if candidates is None:
        candidates = np.unique(np.concatenate([members, non_members]))
    found = len(members) - np.searchsorted(np.sort(members), candidates, side="left")
    rejected = np.searchsorted(np.sort(non_members), candidates, side="left")
    return float(candidates[np.argmax(found * len(non_members) + rejected * len(members))])


def logistic_regression(
    members: Float[np.ndarray, "m f"], non_members: Float[np.ndarray, "n f"], *before: Any
) -> Any:
    """A logistic regression (C = 1) that predicts 1 for members; both sides weigh the same.

    Args:
        members, non_members: what is known of each sample.
        before: scikit-learn's transformers of that.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    learner = LogisticRegression(C=1.0, class_weight="balanced", tol=1e-8, max_iter=10_000)
    attack = make_pipeline(*before, learner)
    is_member = np.repeat([1.0, 0.0], [len(members), len(non_members)])
    return attack.fit(np.concatenate([members, non_members]), is_member)


def class_thresholds(
    members: Scores,
    member_classes: Int[np.ndarray, " m"],
    non_members: Scores,
    non_member_classes: Int[np.ndarray, " n"],
    classes: int,
) -> Float[np.ndarray, " classes"]:
    """The best threshold of each class; of all samples where a side lacks the class."""
    thresholds = np.full(classes, best_threshold(members, non_members))
    for label in np.intersect1d(member_classes, non_member_classes):
        thresholds[label] = best_threshold(
            members[member_classes == label], non_members[non_member_classes == label]
        )
    return thresholds


def success(members: AttackOutput, non_members: AttackOutput) -> tuple[float, float, float, float]:
    """Success rate, AUC, and TPR at 1 % and 0.1 % FPR; in percent."""
    from sklearn.metrics import roc_auc_score, roc_curve

    rate = 50 * (float(np.mean(members.taken)) + float(np.mean(~non_members.taken)))
    counts = len(members.scores), len(non_members.scores)
    is_member = np.concatenate([np.ones(counts[0]), np.zeros(counts[1])])
    scores = np.concatenate([members.scores, non_members.scores])
    auc = 100 * float(roc_auc_score(is_member, scores))
    false, true, _ = roc_curve(is_member, scores, drop_intermediate=False)
    at_1, at_0_1 = (100 * float(true[false <= limit].max()) for limit in (0.01, 0.001))
    return rate, auc, at_1, at_0_1
