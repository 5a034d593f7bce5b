"""The zoo's mechanisms, a line each; importing this loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pyprof.errors import UsageError
from pyprof.models.zoo import facts
from pyprof.models.zoo.facts import Facts
from pyprof.names import nearest


@dataclass(frozen=True, eq=False)
class Mechanism:
    """A mechanism by name: its class as ``package.module:Class``, its options as its source has them, and tiny ones.

    `attentions` are the implementations that its encoder can run, today's best first.
    """

    name: str
    where: str
    options: Mapping[str, float] = field(default_factory=dict)
    tiny: Mapping[str, float] = field(default_factory=dict)
    attentions: tuple[str, ...] = ("eager",)

    @property
    def facts(self) -> Facts:
        return facts.read(self.where.partition(":")[0])

    def options_of(self, size: str) -> dict[str, float]:
        return {**self.options, **(self.tiny if size == "tiny" else {})}

    def claimed(self, length: int, size: str = "base") -> float:
        """Pairs of a query and a key that the source claims the mechanism to look at."""
        return self.facts.claimed(length, self.options_of(size))


def _line(
    name: str, where: str, *, tiny: Mapping[str, float] | None = None, dense: bool = False, **options: float
) -> Mechanism:
    attentions = ("sdpa", "eager") if dense else ("eager",)
    return Mechanism(name, f"{__package__}.{where}", options, tiny or {}, attentions)


MECHANISMS: list[Mechanism] = [
    _line("dense", "dense:Dense", dense=True),
    # Fixed patterns.
    _line("local", "local:Local", block=64, tiny={"block": 8}),
    _line("window", "window:Window", window=128, tiny={"window": 6}),
    _line("widening", "widening:Widening", window=16, tiny={"window": 3}),
    _line("dilated", "dilated:Dilated", window=64, gap=4, tiny={"window": 3, "gap": 3}),
    _line("strided", "strided:Strided"),
    _line("fixed", "fixed:Fixed", columns=8, tiny={"columns": 2}),
    _line("image-1d", "image_1d:Image1d", block=128, memory=128, tiny={"block": 8, "memory": 6}),
    _line("image-2d", "image_2d:Image2d", rows=8, columns=16, memory=8, tiny={"rows": 2, "columns": 3, "memory": 2}),
    _line("gaussian", "gaussian:Gaussian", deviation=1.0, radius=10),
    # Global memory.
    _line("longformer", "longformer:Longformer", window=128, tokens=2, tiny={"window": 6, "tokens": 2}),
    _line("bigbird", "bigbird:BigBird", block=64, random=3, tiny={"block": 4, "random": 2}),
    _line("set-transformer", "set_transformer:SetTransformer", points=64, tiny={"points": 6}),
    _line("all-attention", "all_attention:AllAttention", vectors=2048, tiny={"vectors": 16}),
    # Learnable patterns.
    _line("reformer", "reformer:Reformer", chunk=64, rounds=2, buckets=64, tiny={"chunk": 8, "buckets": 8}),
    _line("routing", "routing:Routing"),
    _line("sinkhorn", "sinkhorn:Sinkhorn", block=64, iterations=7, tiny={"block": 8}),
]


def mechanism(name: str) -> Mechanism:
    """The mechanism of that name; raises UsageError that suggests the nearest name."""
    for each in MECHANISMS:
        if each.name == name:
            return each
    raise UsageError(f"there is no mechanism {name!r}: {nearest(name, [each.name for each in MECHANISMS])}")
