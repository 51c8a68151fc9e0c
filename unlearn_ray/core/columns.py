"""The schema of result rows: each column's name, type, rows that fill it, and meaning.

`unlearn_ray.studies.rows` writes them, the store checks files against their types, and
docs/columns.md and the help of `unlearn_ray.results` are generated from them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Type = Literal["text", "integer", "number", "any"]
Filled = Literal[
    "every row", "trials", "tuning", "score", "failed", "not failed", "trials that did not fail"
]
# Most of a sweep's: each has a column in rows.
MOST_OBJECTIVES, MOST_CONSTRAINTS = 6, 12


@dataclass(frozen=True)
class Column:
    """One column, or one for each metric, field or library.

    Attributes:
        name: with the variable part in angle brackets, as in `<metric>_gap`.
        type: of its values; "any" is text, a number, true or false.
        filled: the rows that have a value; in all others it is null. `trials` are rows with
            purpose tuning or reporting.
        meaning: in one line.
    """

    name: str
    type: Type
    filled: Filled
    meaning: str


# The first that matches a name counts.
COLUMNS = (
    Column("sweep", "text", "every row", "name of the sweep"),
    Column("study_key", "text", "every row", "hash of everything that the study's search depends "
           "on; empty in rows of reference models"),
    Column("purpose", "text", "every row", "tuning, reporting, reference or score"),
    Column("study", "text", "every row", "the study's name in the sweep file; retrain or original "
           "in rows of reference models"),
    Column("method", "text", "trials", "the unlearning method that the study runs"),
    Column("trial", "integer", "every row", "number of the trial in its study; -1 in rows of "
           "reference models"),
    Column("point", "text", "every row", "hash of the searched fields, which identifies the trial; "
           "empty in rows of reference models"),
    Column("state", "text", "every row", "complete, stopped (the trial was pruned after this "
           "seed, clearly worse than others) or failed"),
    Column("failure", "text", "failed", "why it failed"),
    Column("seed", "integer", "every row", "seed of the split and the forget set"),
    Column("replicate", "integer", "every row", "numbers the models of one split that differ in "
           "their training seed"),
    Column("dataset", "text", "every row", "with those of its fields that are not the defaults"),
    Column("forget_set", "text", "every row", "likewise"),
    Column("family", "text", "every row", "likewise"),
    Column("model", "text", "every row", "likewise, with its sparsity"),
    Column("hyperparameters", "text", "trials", "all fields of the method, as JSON"),
    Column("hp_<field>", "any", "trials", "one field of the method"),
    Column("objective", "text", "every row", "the objective that the sweep's search minimises, or "
           "all of them; then constraints"),
    Column("score", "number", "not failed", "the objective under this seed; a search minimises "
           "its mean over the tuning seeds; of several objectives, the first"),
    Column("score_<number>", "number", "not failed", "likewise by the second objective, the third "
           "...; only with several"),
    Column("constraint_<number>", "number", "not failed", "how far this row is beyond a constraint "
           "of the sweep, at most 0 if within; a trial keeps it if the mean over the tuning seeds "
           "is at most 0"),
    Column("average_gap", "number", "not failed", "mean gap over the metrics that count, in their "
           "unit (percentage points)"),
    Column("average_gap_percentage", "number", "not failed", "mean of their gaps in percent of "
           "the retrained model's values (MUC's AGP); null if such a value is 0"),
    Column("average_excess", "number", "tuning", "mean of `<metric>_excess` over the metrics "
           "that count: 1 is expected of another retrained model; null without replicates"),
    Column("tug_of_war", "number", "not failed", "product of 1 - gap over retain, forget and test "
           "accuracy; null if one of them is not measured"),
    Column("unlearning_compute_seconds", "number", "trials that did not fail", "MUC's RTE: CPU "
           "time of all workers' threads, or device time of their GPUs"),
    Column("retraining_compute_seconds", "number", "not failed", "the same for retraining; of a "
           "brought model what its file says, or null"),
    Column("evaluation_seconds", "number", "not failed", "wall time of observing and measuring the "
           "model"),
    Column("accelerator_hours_unlearn", "number", "trials", "spent on unlearning for this "
           "row; 0 if another row's model was reused"),
    Column("accelerator_hours_measure", "number", "trials", "spent on observing and "
           "measuring, likewise"),
    Column("device", "text", "every row", "GPU or CPU that computed the model"),
    Column("threads", "integer", "every row", "CPU threads of each worker that computed it"),
    Column("kernels", "text", "every row", "instruction set that it was computed with"),
    Column("made_on", "text", "not failed", "the machines of every step behind the row"),
    Column("host", "text", "every row", "name of the machine that computed the model"),
    Column("version_<library>", "text", "every row", "version of the library that computed it"),
    Column("key_unlearn", "text", "trials", "key of the step that unlearned"),
    Column("key_original", "text", "every row", "key of the step that trained the original; "
           "null in rows of retrained models"),
    Column("key_retrained", "text", "every row", "key of the step that retrained"),
    Column("key_measure_<metric>", "text", "not failed", "key of the step that measured the "
           "metric"),
    Column("key_score_<score>", "text", "score", "key of the step that computed the score"),
    Column("created", "text", "every row", "when the model was computed, ISO 8601 in UTC"),
    Column("<score>_refused", "text", "score", "why the score has no value; empty if it has one"),
    Column("<metric>_gap", "number", "not failed", "distance of a metric from the retrained "
           "model's"),
    Column("<metric>_floor", "number", "tuning", "mean distance between two retrained models of "
           "one tuning seed: the metric's noise floor; only with several replicates"),
    Column("<metric>_excess", "number", "tuning", "mean distance of a metric from the retrained "
           "models of its seed, over the noise floor (of 0.1 points at least)"),
    Column("<metric>_retrained", "number", "not failed", "the retrained model's value"),
    Column("<metric>_original", "number", "not failed", "the original's value, if the objective "
           "compares with it"),
    Column("<metric>", "number", "not failed", "the measured value; tuning rows hold only the "
           "metrics that the objective uses, and score rows scores: each with the ends of its "
           "interval (`_low`, `_high`), its null with its range (`_null`, `_null_low`, "
           "`_null_high`), and the number of models (`_models`)"),
)  # fmt: skip


_PATTERNS = [re.compile(re.sub("<[a-z]+>", ".+", one.name), re.DOTALL) for one in COLUMNS]


@lru_cache(4096)
def column_of(name: str) -> Column:
    """The schema entry of a row's column; a name that matches no other is a metric's."""
    matching = zip(COLUMNS, _PATTERNS, strict=True)
    return next(column for column, pattern in matching if pattern.fullmatch(name))
