"""What holds for every mechanism of the zoo, whatever it does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode
from zoo_cases import config, part_class, randomised

from pyprof.errors import UsageError
from pyprof.layers.kinds import classify
from pyprof.models import registry
from pyprof.models.loaded import LoadedModel
from pyprof.models.zoo import facts, mechanisms
from pyprof.models.zoo.encoder import ZooEncoder
from pyprof.models.zoo.entries import entry
from pyprof.models.zoo.loading import Zoo
from pyprof.models.zoo.mechanisms import MECHANISMS, Mechanism, mechanism

NAMES = [each.name for each in MECHANISMS]
FAMILIES = {
    "full attention",
    "fixed pattern",
    "global memory",
    "learnable pattern",
    "low rank / kernel",
    "recurrence",
    "downsampling",
    "sparse and conditional",
}
# What a query looks at is earlier than it, but is chosen among all tokens.
CHOSEN_BY_ALL = {"reformer", "routing"}
ADDRESSES = {"attention", "feed-forward", "embedding", "depth"}


def encoder(name: str, length: int, causal: bool = False) -> Any:
    """An encoder in float64, fitted to a length, that draws nothing."""
    torch.manual_seed(0)
    settings = config(name, causal, longest=8)
    module = randomised(ZooEncoder(settings)).double().eval()
    fitted = Zoo(module, settings)
    fitted.extend(length)
    fitted.fit(length)
    return module


def tokens(batch: int, length: int) -> Tensor:
    return torch.randint(1, 50, (batch, length), generator=torch.Generator().manual_seed(length))


def states(module: Any, ids: Tensor, mask: Tensor | None = None) -> Tensor:
    with torch.no_grad():
        hidden: Tensor = module(ids, mask).last_hidden_state
    return hidden


def kept(name: str, length: int) -> int:
    """How many hidden states a mechanism has for that many tokens."""
    return -(-length // 2) if name == "charformer" else length


@pytest.mark.parametrize("name", NAMES)
def test_padding_changes_nothing(name: str) -> None:
    """Sequences of three lengths in one batch have the hidden states that each has by itself."""
    longest, lengths = 41, (41, 30, 7)
    module, ids = encoder(name, longest), tokens(3, longest)
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    together = states(module, ids, mask)
    for row, length in enumerate(lengths):
        alone = states(module, ids[row : row + 1, :length])[0]
        assert len(alone) == kept(name, length)
        torch.testing.assert_close(together[row, : len(alone)], alone, atol=1e-9, rtol=1e-9)
    padded = torch.where(mask, ids, (ids + 7) % 50)
    torch.testing.assert_close(states(module, padded, mask)[1, :10], together[1, :10], atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_a_causal_form_sees_no_later_token_and_a_missing_one_is_refused(name: str) -> None:
    cls, cannot = part_class(name), mechanism(name).facts.cannot
    assert ("autoregression" not in cannot) == cls.CAUSAL
    if not cls.CAUSAL:
        with pytest.raises(UsageError, match=f"the mechanism {name} has no causal form"):
            ZooEncoder(config(name, causal=True))
        return
    module, ids = encoder(name, 41, causal=True), tokens(1, 41)
    read: list[Tensor] = []
    module.embeddings.register_forward_hook(lambda _, __, output: read.append(output[0]))
    before = module(ids).last_hidden_state
    weight = torch.linspace(-1, 1, before[:, :23].numel()).view(before[:, :23].shape)
    gradient = torch.autograd.grad((before[:, :23] * weight).sum(), read[0])[0]
    assert gradient[:, 23:].abs().max() == 0
    assert gradient[:, :23].abs().amax(dim=-1).min() > 0
    changed = ids.clone()
    changed[:, 23:] = (changed[:, 23:] + 7) % 49 + 1
    after = states(module, changed)
    assert (before[:, 23:] - after[:, 23:]).abs().max() > 1e-3
    if name not in CHOSEN_BY_ALL:
        torch.testing.assert_close(before[:, :23], after[:, :23], atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_every_parameter(name: str) -> None:
    module = encoder(name, 41)
    ids = tokens(2, 41)
    hidden = module(ids, torch.arange(41) < torch.tensor([[41], [35]])).last_hidden_state
    (hidden * torch.linspace(-1, 1, hidden.numel()).view(hidden.shape)).sum().backward()
    for path, parameter in module.named_parameters():
        assert parameter.grad is not None, path
        assert parameter.grad.isfinite().all(), path
        # A bias of the keys shifts all scores of a query alike.
        assert parameter.grad.abs().max() > 1e-12 or path.endswith("key.bias"), path


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_as_any_model(name: str) -> None:
    model = registry.load(f"zoo-{name}", size="tiny", attention="best", mode="infer", longest=130)
    for length in (1, 16, 130):
        hidden = run(model, length).last_hidden_state
        assert hidden.shape == (2, kept(name, length), 32)
        assert hidden.isfinite().all()
        assert 0.1 < hidden.std() < 10


@pytest.mark.parametrize("name", ["window", "bigbird", "routing", "synthesizer-random", "compressive", "switch"])
def test_it_is_trained_as_any_model(name: str) -> None:
    model = registry.load(f"zoo-{name}", size="tiny", attention="best", mode="train", longest=130)
    for length in (1, 130):
        loss = run(model, length)
        assert loss.shape == ()
        loss.backward()


def run(model: LoadedModel, length: int, batch: int = 2) -> Any:
    model.fit(length)
    args, kwargs = model.inputs(length, batch)
    return model.step(*args, **kwargs)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["infer", "train"])
@pytest.mark.parametrize("name", NAMES)
def test_it_runs_from_64_to_4096_tokens(name: str, mode: str) -> None:
    model = registry.load(f"zoo-{name}", size="tiny", attention="best", mode=mode, longest=4096)
    for length in (64, 4096):
        outcome = run(model, length, batch=1)
        if mode == "train":
            outcome.backward()
        assert (outcome if mode == "train" else outcome.last_hidden_state).isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_is_of_some_kind(name: str) -> None:
    module = ZooEncoder(config(name))
    kinds = classify(module, entry(mechanism(name)).kinds)
    own = {path: kinds[path] for path, layer in module.named_modules() if [*layer.parameters(recurse=False)]}
    assert "other" not in own.values()
    assert set(own.values()) >= {"embedding", "self-attention", "normalisation"}


def counted(name: str, length: int) -> int:
    """Forward floating-point operations of the part that a mechanism replaces, without its projections."""
    shape = {"hidden_size": 128, "num_attention_heads": 2, "num_hidden_layers": 1, "dropout": 0.1}
    with FakeTensorMode():
        settings = config(name, longest=length, **shape)
        settings.options = mechanism(name).options_of("base")
        module = ZooEncoder(settings).eval().requires_grad_(False)
        Zoo(module, settings).fit(length)
        ids = torch.zeros(1, length, dtype=torch.long)
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            module(ids)
    parts = counter.get_flop_counts()
    linear = [path for path, layer in module.named_modules() if isinstance(layer, torch.nn.Linear)]
    projections = sum(sum(parts.get(f"ZooEncoder.{path}", {}).values()) for path in linear)
    return sum(parts["Global"].values()) - projections


def exponent(values: list[tuple[int, float]]) -> float:
    """The slope of the line of least squares through the logarithms."""
    points = torch.tensor(values, dtype=torch.float64).log()
    x, y = (points - points.mean(dim=0)).T
    return float((x * y).sum() / (x * x).sum())


# Those that go segment by segment take seconds to be counted.
STEPWISE = {"transformer-xl", "compressive", "block-recurrent"}
COUNTED = [pytest.param(name, marks=[pytest.mark.slow] if name in STEPWISE else []) for name in NAMES]


@pytest.mark.parametrize("name", COUNTED)
def test_the_operations_grow_as_claimed(name: str) -> None:
    lengths = [1024, 4096, 16384]
    claim = exponent([(length, mechanism(name).claimed(length)) for length in lengths])
    grown = exponent([(length, counted(name, length)) for length in lengths])
    assert grown == pytest.approx(claim, abs=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_says_what_the_survey_asks(name: str) -> None:
    told = mechanism(name).facts
    assert told.family in FAMILIES
    assert set(told.addresses) <= ADDRESSES
    assert set(told.cannot) <= {"autoregression", "cross-attention"}
    assert re.search(r"\b(19|20)\d\d\b", told.source)
    assert told.claimed(4096, mechanism(name).options_of("base")) > 0


def test_one_file_a_mechanism_and_all_families_there() -> None:
    folder = Path(mechanisms.__file__).parent
    files = {each.where.partition(":")[0].rpartition(".")[2] for each in MECHANISMS}
    described = {path.stem for path in folder.glob("*.py") if "\nFamily: " in path.read_text()}
    assert files == described
    assert {each.facts.family for each in MECHANISMS} == FAMILIES
    assert len(set(NAMES)) == len(NAMES)


NEW = '''"""Uniform attention: every key counts as much as any other.

Family: global memory
Source: a test of 2026
Equation: mean of v_j
Complexity: L
Addresses: attention
Cannot: autoregression, cross-attention
Limit: the mean
"""

from pyprof.models.zoo.parts import Attention


class Uniform(Attention):
    CAUSAL = False

    def __init__(self, config, layer, *, share):
        super().__init__(config, layer)
        self.share = share

    def attend(self, query, key, value, mask=None):
        return value.mean(dim=2, keepdim=True).expand_as(value) * self.share + 0 * (query + key)
'''


def test_a_new_mechanism_is_a_file_and_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "zoo_uniform.py").write_text(NEW)
    monkeypatch.syspath_prepend(tmp_path)
    line = Mechanism("uniform", "zoo_uniform:Uniform", {"share": 1.0})
    monkeypatch.setattr(mechanisms, "MECHANISMS", [*MECHANISMS, line])
    described = {each.entry.name: each for each in registry.describe()}
    uniform = described["zoo-uniform"]
    assert (uniform.entry.family, uniform.entry.vanilla) == ("global memory", "zoo-dense")
    assert uniform.parameters == described["zoo-dense"].parameters
    loss = run(registry.load("zoo-uniform", size="tiny", attention="best", mode="train", longest=64), 33)
    loss.backward()
    assert loss.isfinite()


@pytest.mark.parametrize("field", facts.FIELDS)
def test_a_docstring_without_a_field_is_refused(field: str) -> None:
    text = re.sub(rf"^{field}: .*\n", "", NEW, flags=re.MULTILINE)
    with pytest.raises(ValueError, match=f"zoo_uniform lacks a line '{field}'"):
        facts.parse(text, "zoo_uniform")


def test_an_unknown_mechanism_gets_the_nearest_name() -> None:
    settings = config()
    settings.attention = "densa"
    with pytest.raises(UsageError, match=r"no mechanism 'densa': did you mean 'dense'\?"):
        ZooEncoder(settings)
