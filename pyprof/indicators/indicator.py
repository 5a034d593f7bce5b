"""An indicator: what is known of a cost, and how it is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from pyprof.errors import UsageError
from pyprof.quantity import plural
from pyprof.records.costs import DERIVED, Costs
from pyprof.records.indicator import IndicatorFacts
from pyprof.records.reading import Reading

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pyprof.device.base import Device
    from pyprof.records.case import Case
    from pyprof.records.study_parts import Training

Found = TypeVar("Found")
How = Literal["timed", "searched", "weighed", "counted", "trained", "derived"]


class Step(Protocol):
    """One step of a loaded model on fresh inputs, as an indicator sees it.

    `module` is the bare model without the head of a training step, `step` what a call runs (the model itself in infer
    mode, the model behind a head that returns the loss in train mode), `inputs` its positional and keyword arguments;
    `length` counts the model's own unit. Calling it runs one step:
    a forward, in train mode a backward and maybe an optimizer's step too.
    """

    @property
    def module(self) -> nn.Module: ...
    @property
    def step(self) -> nn.Module: ...
    @property
    def inputs(self) -> tuple[tuple[Any, ...], Mapping[str, Any]]: ...
    @property
    def mode(self) -> str: ...
    @property
    def length(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def device(self) -> Device: ...
    @property
    def case(self) -> Case: ...
    @property
    def training(self) -> Training:
        """How carefully a study trains."""
        ...

    @property
    def tell(self) -> Callable[[str, float], None]:
        """What is told in words how far a reading is that takes long, and the seconds that it will still take."""
        ...

    @property
    def loader(self) -> str | None:
        """The function that gives the examples of `wall_clock`, as ``package.module:function``; None without one."""
        ...

    @property
    def optimizer_state(self) -> Sequence[Tensor]:
        """The tensors that an optimizer keeps between two steps; none without one, or before its first step."""
        ...

    def __call__(self) -> None: ...

    def renew(self) -> None: ...

    def on(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A step on other arguments, which are moved to the model's device and type before."""
        ...

    def close(self) -> None:
        """Drop the gradients that a step has left."""
        ...

    def peak_memory(self, call: Callable[[], None] | None = None) -> Reading: ...

    def once(self, look: Callable[[Step], Found], *, replayed: bool = False) -> Found:
        """What `look` finds about this step; it looks once, however many indicators ask.

        A captured step runs operator by operator meanwhile, unless it is to be `replayed`.
        """
        ...


class Search(Protocol):
    """The search for the largest batch that fits, for one case."""

    def throughput(self) -> Reading: ...


@dataclass(frozen=True, kw_only=True)
class Indicator(IndicatorFacts):
    """One entry: the facts, and how the indicator is measured.

    `how` says when: *timed* together with other cases, in the same rounds (it is the time of a step, so that there is
    nothing to read); *searched* while the largest batch is looked for, by ``read(search)``; *weighed* on one call of
    the step, by ``read(step, call)``, where `call` runs the step once and may carry the probes; *counted* by
    ``read(step)``, which may look at the module, its inputs and the mode, and may run the step; *trained* by
    ``read(step)`` too, last of all, in the cases whose length is ``length(training, size)``, that of the task, on
    ``examples(training, size)`` in all;
    *derived* from the other readings of the case by ``read(case, readings, costs)``, of which it `needs` those. `read`
    gives a ``Reading``; one that cannot be had has the value None and a reason. What a counter or a training raises is
    such a reason too, while everything else of the case stands; what others raise becomes the case's status. `usual`:
    a study that names no metrics measures it.
    """

    how: How = "counted"
    usual: bool = True
    needs: tuple[str, ...] = ()
    read: Callable[..., Reading] | None = None
    length: Callable[[Training, str], int] | None = None
    examples: Callable[[Training, str], int] | None = None

    def __post_init__(self) -> None:
        if (self.read is None) != (self.how == "timed"):
            raise UsageError(f"the indicator {self.name} is {self.how} and has {'no ' * (self.read is None)}function")
        if (self.length is None) != (self.how != "trained"):
            raise UsageError(
                f"the indicator {self.name} is {self.how}: a length is for what is trained, and needed there"
            )

    @property
    def facts(self) -> IndicatorFacts:
        """What a run keeps of it."""
        return IndicatorFacts(**{field.name: getattr(self, field.name) for field in fields(IndicatorFacts)})


def stated(indicator: Indicator, costs: Costs) -> IndicatorFacts:
    """What a run keeps of an indicator; carbon and money say what they are of, and money has its currency."""
    facts = indicator.facts
    if indicator.how != "derived" or indicator.name not in DERIVED:
        return facts
    scope = "of one example"
    if costs.queries > 1 or costs.examples > 1:
        scope = f"of all: training on {plural(costs.examples, 'example')}, or {costs.queries:,} queries"
    facts = replace(facts, scope=scope)
    currency = "" if costs.price is None else costs.price.currency
    return replace(facts, unit=currency, short_unit=currency) if indicator.name == "monetary" and currency else facts
