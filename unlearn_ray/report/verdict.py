"""The verdict in words: what the replicates bear, who stands where, at which level and N."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn_ray.core.words import counted
from unlearn_ray.evidence.verdicts import Verdict
from unlearn_ray.reporting.evidence import LEVEL, Evidence
from unlearn_ray.reporting.table import Comparison

_MEANINGS = {
    Verdict.INDISTINGUISHABLE: "nearer to retraining than the original is, and no test tells them"
    " from retrained models",
    Verdict.BETTER: "nearer to retraining than the original is, and still different from it",
    Verdict.WORSE: "farther from retraining than the original, which has forgotten nothing",
    Verdict.UNDECIDED: "these models bear neither conclusion",
}


@dataclass(frozen=True)
class Group:
    """The studies of one verdict; `meaning` says what it says."""

    verdict: str
    meaning: str
    studies: tuple[str, ...]


@dataclass(frozen=True)
class VerdictInWords:
    """What a report says first.

    Attributes:
        headline: one sentence.
        basis: the level and the numbers of models; empty without evidence.
        groups: every verdict with its studies; empty without evidence.
        reasons: why there is no verdict, on some studies or on any.
    """

    headline: str
    basis: str = ""
    groups: tuple[Group, ...] = ()
    reasons: tuple[str, ...] = ()


def verdict_in_words(comparison: Comparison | None) -> VerdictInWords:
    """The verdict on a sweep; None is a sweep without rows."""
    if comparison is None:
        return VerdictInWords("No verdict: nothing has been measured yet.")
    evidence = comparison.evidence
    if evidence is None:
        reasons = tuple(note for note in comparison.notes if _is_about_verdicts(note))
        return VerdictInWords(f"No verdict{_why(comparison)}.", reasons=reasons)
    if not evidence.judgements:
        return VerdictInWords("No verdict: no study has been run on the reporting seeds yet.")
    groups = tuple(
        Group(str(verdict), meaning, _of(evidence, verdict))
        for verdict, meaning in _MEANINGS.items()
    )
    refused = {name: one.refused for name, one in evidence.judgements.items() if one.refused}
    reasons = tuple(
        f"{', '.join(name for name, of in refused.items() if of == why)}: {why}."
        for why in dict.fromkeys(refused.values())
    )
    return VerdictInWords(_headline(evidence), _basis(comparison, evidence), groups, reasons)


def _is_about_verdicts(note: str) -> bool:
    return "no verdict" in note


def _why(comparison: Comparison) -> str:
    if not comparison.seeds:
        return ": no study has been run on the reporting seeds yet"
    return "" if comparison.compares else ": nothing was compared with retraining"


def _of(evidence: Evidence, verdict: Verdict) -> tuple[str, ...]:
    """The studies of a verdict, the nearest to retraining first."""
    judged = evidence.judgements
    names = [name for name, one in judged.items() if one.verdict == verdict]
    return tuple(sorted(names, key=lambda name: (judged[name].rank, judged[name].gap)))


def _headline(evidence: Evidence) -> str:
    alike = _of(evidence, Verdict.INDISTINGUISHABLE)
    worse = _of(evidence, Verdict.WORSE)
    said = (
        f"{_and(alike)} {'is' if len(alike) == 1 else 'are'} indistinguishable from retraining"
        if alike
        else "No method is shown to be indistinguishable from retraining"
    )
    best = [name for name in evidence.judgements if name in evidence.starred]
    if not alike and best:
        said += f"; no other is nearer to it than {_and(best)}"
    if worse:
        said += f". {_and(worse)} {'is' if len(worse) == 1 else 'are'} worse than doing nothing"
    return f"{said}."


def _and(names: tuple[str, ...] | list[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _basis(comparison: Comparison, evidence: Evidence) -> str:
    seeds = ", ".join(map(str, comparison.seeds))
    splits = f"{'seeds' if len(comparison.seeds) > 1 else 'seed'} {seeds}"
    studies = counted(len(evidence.judgements), "study", "studies")
    runs = [len(line.runs) for line in comparison.lines if line.study in evidence.judgements]
    unlearned = f"{min(runs)}" if min(runs) == max(runs) else f"{min(runs)} to {max(runs)}"
    return (
        f"At the level of {100 * LEVEL:g} %, by Holm over {studies}. N = {evidence.replicates}"
        f" retrained models of each split ({splits}), and {unlearned} unlearned ones of each study"
        " in all. A gap is the mean distance from the retrained models, each metric's over its"
        f" noise floor, of {', '.join(comparison.headers[name] for name in comparison.counted)}."
    )
