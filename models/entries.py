"""The registry's entries: what is known of each model before it is built; importing this loads no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pyprof.errors import UsageError
from pyprof.models import work

Modality = Literal["text", "speech", "vision", "bytes"]
Unit = Literal["token", "pixel"]
Rules = tuple[tuple[str, str], ...]
SIZES = ("base", "small", "tiny")
# The modes of a decoder: a prompt that fills its cache of keys and values, and one more token that reads it.
GENERATING = ("prefill", "generate")


@dataclass(frozen=True)
class Cost:
    """How a step's cost grows with the length: approximate work, and the multiple that inputs are padded to."""

    work: Callable[[int], float]
    padding: int = 1


@dataclass(frozen=True)
class Entry:
    """One model of the registry.

    `vanilla` names the model that it is a variant of, None for a vanilla model; `family` is its class in the taxonomy
    of Tay et al., "Efficient Transformers: A Survey" (ACM Computing Surveys, 2022). A length counts `unit`: tokens,
    or the pixels of a square image's side; lengths run from `shortest` to `longest` in steps of `multiple`.
    `attentions` are the implementations it can run, today's best first, and `then` is the one comparable with the
    2023 study. `loader` names the function that gives the model's blueprint of a size, as
    ``package.module:function``. `kinds` are rules of (regular expression on a layer's path, kind). `work` maps a
    length to the approximate forward floating-point operations of the base size for one example. Inputs are padded to a
    multiple of `padding` units, so that the cost is a staircase over the length. `work` and `padding` are those of
    `then`; `others` are the implementations that differ, with what holds for them. `generates`: it is a decoder, which
    keeps the keys and values of what it has read. `complexity` is what the source
    claims of the mechanism, and `claim` its value at a length in a size. `sizes` are those that it comes in.
    `needs_autocast`: it computes in 16 bits under autocast alone.
    """

    name: str
    modality: Modality
    vanilla: str | None
    family: str
    unit: Unit
    description: str
    source: str
    attentions: tuple[str, ...]
    then: str
    shortest: int
    longest: int
    multiple: int
    loader: str
    kinds: Rules
    work: Callable[[int], float]
    padding: int = 1
    others: tuple[tuple[str, Cost], ...] = ()
    generates: bool = False
    complexity: str | None = None
    claim: Callable[[int, str], float] | None = None
    sizes: tuple[str, ...] = ("base", "tiny")
    needs_autocast: bool = False

    def cost(self, attention: str) -> Cost:
        """How the cost grows with the length where that implementation runs."""
        return dict(self.others).get(attention, Cost(self.work, self.padding))

    def check_attention(self, attention: str, mode: str) -> None:
        """Raise UsageError where the implementation does not run in that mode."""
        if attention == "flex" and mode == "train":
            others = ", ".join(name for name in self.attentions if name != attention)
            raise UsageError(
                f"{self.name} cannot be trained with flex, which has no dropout and on the CPU no backward: "
                f"choose {others}, or mode infer"
            )

    def check_mode(self, mode: str) -> None:
        """Raise UsageError where the model does not run in that mode."""
        if mode in GENERATING and not self.generates:
            raise UsageError(
                f"{self.name} is no decoder and cannot generate, so it has no mode {mode}: choose infer or train"
            )

    def resolve(self, alias: str) -> str:
        """The implementation that an alias (best, then) or a name stands for; raises UsageError where it has none."""
        name = {"best": self.attentions[0], "then": self.then}.get(alias, alias)
        if name not in self.attentions:
            raise UsageError(
                f"{self.name} has no attention implementation {alias!r}: choose from "
                f"{', '.join(self.attentions)}, best or then"
            )
        return name

    def check_length(self, length: int) -> None:
        """Raise UsageError unless the model takes inputs of that length."""
        if not self.shortest <= length <= self.longest:
            raise UsageError(
                f"{self.name} takes lengths from {self.shortest} to {self.longest} {self.unit}s, not {length}: "
                "choose a length in that range"
            )
        if length % self.multiple:
            raise UsageError(
                f"{self.name} takes images whose side is a multiple of {self.multiple} pixels, not {length}: "
                f"choose {max(length - length % self.multiple, self.shortest)} or {work.padded(length, self.multiple)}"
            )


_TEXT_KINDS: Rules = (
    (r"embeddings", "embedding"),
    (r"encoder\.layer\.\d+\.attention", "self-attention"),
    (r"encoder\.layer\.\d+\.(intermediate|output)", "feedforward"),
    (r"pooler", "head"),
)
# HuBERT's and ViT's layers add both residuals themselves; they are counted with the feedforward part, which ends a
# layer.
_SPEECH_KINDS: Rules = (
    (r"feature_extractor|feature_projection|encoder\.pos_conv_embed|encoder\.dropout", "embedding"),
    (r"encoder\.layers\.\d+\.(attention|dropout)", "self-attention"),
    (r"encoder\.layers\.\d+", "feedforward"),
)
VIT_KINDS: Rules = (
    (r"embeddings", "embedding"),
    (r"layers\.\d+\.attention", "self-attention"),
    (r"layers\.\d+", "feedforward"),
    (r"pooler", "head"),
)
# A Swin block's own time is the shift, the partition into windows and the mask, all of which exist for its attention.
_SWIN_KINDS: Rules = (
    (r"embeddings|encoder\.layers\.\d+\.downsample", "embedding"),
    (r"encoder\.layers\.\d+\.blocks\.\d+", "self-attention"),
    (r"encoder\.layers\.\d+\.blocks\.\d+\.mlp", "feedforward"),
    (r"pooler", "head"),
)
_TOKENS = 1 << 17
_PIXELS = 1 << 12


def _l_hubert(name: str, context: int) -> Entry:
    banded = Cost(work.l_hubert(context))
    return Entry(
        name=name,
        modality="speech",
        vanilla="hubert",
        family="fixed pattern (local window)",
        unit="token",
        description=f"HuBERT base whose queries see {context // 2} neighbours on each side (context {context})",
        source="Diwan, Choi, Harwath, ACL 2023; attention of Beltagy, Peters, Cohan, 2020",
        attentions=("fused", "chunks", "flex", "sdpa-mask"),
        then="chunks",
        shortest=1,
        longest=_TOKENS,
        multiple=1,
        loader=f"pyprof.models.l_hubert:context_{context}",
        kinds=_SPEECH_KINDS,
        work=work.l_hubert_in_chunks(context // 2),
        padding=context,
        others=(("fused", banded), ("flex", banded), ("sdpa-mask", Cost(work.hubert))),
    )


# Each vanilla model before its variants.
ENTRIES = (
    Entry(
        name="bert",
        modality="text",
        vanilla=None,
        family="full attention",
        unit="token",
        description="BERT base, uncased",
        source="Devlin et al., NAACL 2019",
        attentions=("sdpa", "eager"),
        then="eager",
        shortest=1,
        longest=_TOKENS,
        multiple=1,
        loader="pyprof.models.text:bert",
        kinds=_TEXT_KINDS,
        work=work.bert,
    ),
    Entry(
        name="longformer",
        modality="text",
        vanilla="bert",
        family="fixed pattern + memory",
        unit="token",
        description="Longformer base 4096, window 512, no token with global attention",
        source="Beltagy, Peters, Cohan, 2020 (arXiv:2004.05150)",
        attentions=("eager",),
        then="eager",
        shortest=1,
        longest=_TOKENS,
        multiple=1,
        loader="pyprof.models.text:longformer",
        kinds=_TEXT_KINDS,
        work=work.longformer,
        padding=512,
    ),
    Entry(
        name="nystromformer",
        modality="text",
        vanilla="bert",
        family="low rank / kernel",
        unit="token",
        description="Nyströmformer base 512, 64 landmarks, the Nyström path at every length",
        source="Xiong et al., AAAI 2021",
        attentions=("eager",),
        then="eager",
        shortest=1,
        longest=_TOKENS,
        multiple=1,
        loader="pyprof.models.text:nystromformer",
        kinds=_TEXT_KINDS,
        work=work.nystromformer,
        padding=64,
        needs_autocast=True,
    ),
    Entry(
        name="hubert",
        modality="speech",
        vanilla=None,
        family="full attention",
        unit="token",
        description="HuBERT base; a token is one frame of 20 ms, 320 samples",
        source="Hsu et al., IEEE/ACM TASLP 2021",
        attentions=("sdpa", "eager"),
        then="eager",
        shortest=1,
        longest=_TOKENS,
        multiple=1,
        loader="pyprof.models.speech:hubert",
        kinds=_SPEECH_KINDS,
        work=work.hubert,
    ),
    _l_hubert("l-hubert", 32),
    _l_hubert("l-hubert-100", 100),
    Entry(
        name="vit",
        modality="vision",
        vanilla=None,
        family="full attention",
        unit="pixel",
        description="ViT base, patches of 16 x 16 pixels",
        source="Dosovitskiy et al., ICLR 2021",
        attentions=("sdpa", "eager"),
        then="eager",
        shortest=32,
        longest=_PIXELS,
        multiple=16,
        loader="pyprof.models.vision:vit",
        kinds=VIT_KINDS,
        work=work.vit,
    ),
    Entry(
        name="swin",
        modality="vision",
        vanilla="vit",
        family="fixed pattern (shifted windows)",
        unit="pixel",
        description="Swin base, patches of 4 x 4 pixels, windows of 7 x 7 patches",
        source="Liu et al., ICCV 2021",
        attentions=("sdpa", "eager"),
        then="eager",
        shortest=32,
        longest=_PIXELS,
        multiple=4,
        loader="pyprof.models.vision:swin",
        kinds=_SWIN_KINDS,
        work=work.swin,
    ),
)
