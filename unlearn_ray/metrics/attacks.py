"""Base classes of the membership inference attacks: splits, thresholds and scores."""

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
    """The samples that an attack is trained on, and the non-members that it is evaluated on.

    Attributes:
        members: number of retain samples to train on, the first in the seed's permuted order.
        learnt: the test samples to train on.
        tried: the test samples to evaluate on.
    """

    members: int
    learnt: Bool[np.ndarray, " test"]
    tried: Bool[np.ndarray, " test"]


@dataclass(frozen=True)
class AttackOutput:
    """An attack's output for members or for non-members.

    Attributes:
        scores: larger for likelier members; the ROC curve thresholds them.
        taken: whether the attack predicts that the sample is a member.
    """

    scores: Scores
    taken: Bool[np.ndarray, " n"]


@schema
class Attack(Metric):
    """A membership inference attack: can it distinguish the forget set from unseen samples?

    It is trained on retain samples as members and test samples as non-members, and evaluated on
    the forget set as members and on *other* test samples as non-members. These are only of the
    forget set's classes, since distinguishing dogs from other animals would be no membership
    test: every other test sample of each such class, beginning with the first. The rest of the
    test set is for training, with as many retain samples.

    A class that is forgotten as a whole has no retain samples to train on, so all its test
    samples are for evaluation.

    Columns, in percent, of which the printed table has the first two:
        success: balanced accuracy, the mean of the rates at which members and non-members are
            recognised. 50 is chance, and the aim of unlearning.
        auc: area under the ROC curve, ties counting half. 50 is chance.
        tpr_at_1, tpr_at_0_1: the largest true-positive rate on the forget set at a false-positive
            rate of at most 1 % (0.1 %) on the test samples; equal scores are on the same side of
            the threshold. With fewer than 100 (1,000) such samples, no false positive is allowed.
            Chance is at most 1 (0.1).
    """

    def measure(self, model: Observed) -> Measurement:
        """The attack's success.

        Raises:
            DataError: a set is empty, or no sample is left to train or evaluate on.
        """
        members, non_members = self.attack(model, attack_split(model))
        return Measurement(dict(zip(self.columns, success(members, non_members), strict=True)))

    def attack(self, model: Observed, split: AttackSplit) -> tuple[AttackOutput, AttackOutput]:
        """Outputs on the forget set, and on the test samples for evaluation."""
        raise NotImplementedError


@schema
class ThresholdAttack(Attack):
    """An attack on one number per sample: members lie at or above a threshold.

    The threshold is the training score with the best success rate, the lowest in case of a tie.
    If it depends on the class, a class that lacks members or non-members to train on (such as one
    that is forgotten as a whole) gets the threshold of all classes together. The ROC curve uses
    one threshold for all classes, as is usual: relative to their class's threshold, saturated
    scores would be ranked by the thresholds' errors, which would hide what an attack recognises
    at low false-positive rates.

    Class attributes:
        by_class: whether every class has its own threshold.
    """

    by_class: ClassVar[bool] = True

    def scores(self, model: Observed, part: SetName, limit: int) -> Scores:
        """Scores of the first `limit` samples of a set; larger for likelier members."""
        raise NotImplementedError

    def attack(self, model: Observed, split: AttackSplit) -> tuple[AttackOutput, AttackOutput]:
        """Each sample's score, and whether it reaches its threshold."""
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
    """The columns of low false-positive rates, which printed tables leave out."""
    return frozenset({f"{name}_tpr_at_1", f"{name}_tpr_at_0_1"})


def attack_split(model: Observed) -> AttackSplit:
    """The samples that attacks on this model are trained and evaluated on.

    Raises:
        DataError: a set is empty, or no sample is left to train or evaluate on.
    """
    require_samples(model, "retain", "forget", "test")
    retain, forget, test = (model.labels(part) for part in ("retain", "forget", "test"))
    kept, forgotten = isin(test, retain).numpy(), isin(test, forget).numpy()
    even = place_in_class(test.numpy()) % 2 == 0
    tried = forgotten & (even | ~kept)
    learnt = kept & ~tried
    for chosen, purpose in ((learnt, "train an attack on"), (tried, "evaluate it on")):
        if not chosen.any():
            raise DataError(
                f"test set of {len(test)} samples",
                f"has none to {purpose}: an attack needs one of a retained class, and another one "
                "of the forget set's classes",
                "choose another dataset or forget set",
            )
    return AttackSplit(members=min(int(learnt.sum()), len(retain)), learnt=learnt, tried=tried)


def place_in_class(labels: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Number of earlier samples of the same class, for each sample."""
    order = np.argsort(labels, kind="stable")
    ordered = labels[order]
    places = np.empty_like(order)
    places[order] = np.arange(len(labels)) - np.searchsorted(ordered, ordered, side="left")
    return places


def best_threshold(members: Scores, non_members: Scores, candidates: Scores | None = None) -> float:
    """The first of the candidates with the best balanced accuracy; >= is a member.

    Integer counts are compared, so that equally good thresholds tie exactly.

    Args:
        members, non_members: their scores.
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
    """A logistic regression (C = 1) that predicts 1 for members, with balanced class weights.

    Args:
        members, non_members: their features.
        before: scikit-learn transformers of the features.
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
    """The best threshold of each class; that of all samples for a class that a side lacks."""
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
