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
    """A mechanism by name: its class as ``package.module:Class``, its options at base and small size, and tiny ones.

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
    # Low rank and kernels.
    _line("linformer", "linformer:Linformer", rank=256, tiny={"rank": 8}),
    _line("performer", "performer:Performer", features=256, tiny={"features": 24}),
    _line("performer-relu", "performer_relu:PerformerRelu"),
    _line("linear", "linear:Linear"),
    _line("nystrom", "nystrom:Nystrom", landmarks=64, iterations=6, kernel=33, tiny={"landmarks": 8, "kernel": 5}),
    _line("synthesizer-dense", "synthesizer:Dense"),
    _line("synthesizer-random", "synthesizer:Random"),
    _line("synthesizer-factorised", "synthesizer:Factorised", rank=8),
    _line("synthesizer-mixture", "synthesizer:Mixture"),
    # Recurrence.
    _line("transformer-xl", "transformer_xl:TransformerXl", segment=128, memory=128, tiny={"segment": 8, "memory": 8}),
    _line(
        "compressive",
        "compressive:Compressive",
        segment=64,
        memory=64,
        compressed=64,
        ratio=4,
        tiny={"segment": 8, "memory": 8, "compressed": 4},
    ),
    _line("block-recurrent", "block_recurrent:BlockRecurrent", block=128, states=64, tiny={"block": 8, "states": 4}),
    # Downsampling.
    _line("charformer", "charformer:Charformer", dense=True, largest=4, rate=2),
    _line("funnel", "funnel:Funnel", dense=True, blocks=3, tiny={"blocks": 2}),
    # Sparse and conditional.
    _line("switch", "switch:Switch", dense=True, experts=8, capacity=1.25, tiny={"experts": 3}),
    _line("universal", "universal:Universal", dense=True),
]


# The models of Long Range Arena's table of speed and memory, with the settings of the code that produced it: it differs
# from the paper in Linformer's rank and the Performer's features. Longformer and the Sparse Transformer were emulated
# there with dense masks, and were not timed.
ARENA: list[Mechanism] = [
    _line("lra-transformer", "dense:Dense", dense=True),
    _line("lra-local", "local:Local", block=50),
    _line("lra-linformer", "linformer:Linformer", rank=16, shared=True),
    _line("lra-reformer", "reformer:Reformer", chunk=10, rounds=1, buckets=10),
    _line("lra-sinkhorn", "sinkhorn:Sinkhorn", block=50, iterations=7),
    _line("lra-synthesizer", "synthesizer:Mixture"),
    _line("lra-bigbird", "bigbird:BigBird", block=64, random=3),
    _line("lra-linear", "linear:Linear"),
    _line("lra-performer", "performer_relu:PerformerRelu"),
]


def mechanism(name: str) -> Mechanism:
    """The mechanism of that name; raises UsageError that suggests the nearest name."""
    for each in (*MECHANISMS, *ARENA):
        if each.name == name:
            return each
    raise UsageError(f"there is no mechanism {name!r}: {nearest(name, [each.name for each in MECHANISMS])}")
