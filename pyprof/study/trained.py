"""The tasks that a study trains models on: at which lengths, and whether it measures there."""

from __future__ import annotations

from collections.abc import Sequence

from pyprof.errors import UsageError
from pyprof.indicators import registry
from pyprof.indicators.indicator import Indicator
from pyprof.records.study import Study
from pyprof.records.study_parts import Training


def trained(metrics: Sequence[str], where: str = "pyprof") -> tuple[Indicator, ...]:
    """Those of the metrics that models are trained for; raises UsageError for one that does not exist."""
    return tuple(each for each in registry.chosen(metrics, where) if each.how == "trained")


def lengths(metrics: Sequence[str], training: Training, size: str) -> tuple[int, ...]:
    """The lengths of the tasks among the metrics at a size, ascending; each once."""
    return tuple(sorted({each.length(training, size) for each in trained(metrics) if each.length is not None}))


def check(study: Study) -> None:
    """Raise UsageError where a model would be trained at a length that is not measured, or in no train mode."""
    wanted = trained(study.metrics, f"{study.name}: metrics")
    if wanted and "train" not in study.modes:
        raise UsageError(f"{study.name}: {wanted[0].name} needs the train mode: add it to modes")
    measured = {length for block in study.blocks for length in block.lengths.values}
    for each in wanted:
        length = None if each.length is None else each.length(study.training, study.size)
        if length not in measured:
            raise UsageError(
                f"{study.name}: {each.name} is of inputs of {length:,} tokens at size {study.size}, and no comparison "
                "has that length: add it"
            )
