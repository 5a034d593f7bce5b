"""Are long inputs used? How quality changes where a region of the inputs is disturbed, paired over the examples.

Loads no torch; what judges the examples does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from pyprof.quality.paired import Paired, compared
from pyprof.quality.perturb import perturbed_examples
from pyprof.quality.region import Region
from pyprof.quality.task import Example, Rows

Verdict = Literal["used", "ignored", "no use shown", "better without"]
# Examples to their rows, (examples, 2): a sum and what it is divided by, such as right answers and one, or the negative
# logarithm of a probability, in nats, and the tokens that it is of.
Judge = Callable[[Sequence[Example]], Rows]
# A drop changes the shapes that a model computes with, and so the last bits of its sums: differences below this share
# of the larger figure (or of one) are rounding.
_ROUNDING = 2e-5


@dataclass(frozen=True)
class Use:
    """What the disturbance of a region does to a model's quality.

    `share` is how much of the inputs is disturbed, on average, and `paired` the change of quality. `verdict`: used
    where the interval shows a loss, better without where it shows a gain, ignored where not one of the examples' bits
    changed, no use shown otherwise (answers that stay the same may come of another certainty).
    """

    how: str
    region: str
    share: float
    paired: Paired

    @property
    def verdict(self) -> Verdict:
        """What the change says of the region."""
        if not self.paired.changed:
            return "ignored" if self.paired.figure == "bits" else "no use shown"
        low, high = self.paired.loss.interval or (-np.inf, np.inf)
        return "used" if low > 0 else "better without" if high < 0 else "no use shown"

    def to_json(self) -> dict[str, Any]:
        """A JSON object of all fields and the verdict."""
        return {**asdict(self), "verdict": self.verdict}


def use(
    judge: Judge,
    examples: Sequence[Example],
    how: str,
    region: Region,
    *,
    inputs: Sequence[str] = ("tokens",),
    seed: int = 0,
) -> Use:
    """What is lost of a model's quality where a region of its inputs is shuffled, replaced or dropped.

    Args:
        judge: gives the rows of examples, of a model in eval mode.
        examples: dicts with token arrays by the names of `inputs`, and ``labels`` where each token has one.
        how: shuffle, replace or drop.
        region: the part that is disturbed.
        inputs: names of the token arrays.
        seed: fixes the disturbance.

    Raises:
        UsageError: as `pyprof.quality.perturb.perturbed_examples` does.
    """
    plain, disturbed = perturbed_examples(examples, how, region, inputs=inputs, seed=seed)
    lengths = [len(each[inputs[0]]) for each in examples]
    share = float(np.mean([(end - begin) / length for length in lengths for begin, end in [region.of(length)]]))
    rounding = _ROUNDING if how == "drop" else 0.0
    paired = compared(judge(plain), judge(disturbed), per_token="labels" in examples[0], rounding=rounding)
    return Use(how, str(region), share, paired)
