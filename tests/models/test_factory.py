from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pyprof.errors import ModelError, UsageError
from pyprof.models.loaded import load_model
from pyprof.models.registry import Request, load

SOURCE = '''
import torch
from torch import nn


class Odd(nn.Module):
    """Takes multiples of three only."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 5)

    def forward(self, tensor):
        if tensor.shape[1] % 3:
            raise RuntimeError("length must be a multiple of three")
        return {"hidden": self.layer(tensor), "count": 3}


class Loss(Odd):
    def forward(self, tensor):
        return super().forward(tensor)["hidden"].square().mean()


class Silent(Odd):
    def forward(self, tensor):
        return "nothing"


def keywords(length, batch):
    return {"tensor": torch.randn(batch, length, 6)}


def positional(length, batch):
    return (torch.randn(batch, length, 6),)


def good(): return Odd(), keywords
def tuples(): return Odd(), positional
def loss(): return Loss(), positional
def silent(): return Silent(), positional
def lists(): return Odd(), lambda length, batch: [torch.randn(batch, length, 6)]
def breaking(): return Odd(), lambda length, batch: 1 / 0
def raising(): raise ValueError("no such\\nthing")
def leaving(): raise SystemExit(0)
def interrupted(): raise KeyboardInterrupt
def alone(): return Odd()
def number(): return 3
def made(name, **options):
    import transformers
    return getattr(transformers, name + "Model")(getattr(transformers, name + "Config")(**options))
small = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
both = {f"{name}_token_id": 0 for name in ("pad", "bos", "eos", "decoder_start")}
both |= {f"{side}_{what}": 1 for side in ("encoder", "decoder") for what in ("layers", "attention_heads", "ffn_dim")}
def bert(): return made("Bert", vocab_size=32, **small)
def t5(): return made("T5", vocab_size=32, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
def vit(): return made("ViT", image_size=12, patch_size=4, **small)
def wav2vec2(): return made("Wav2Vec2", conv_dim=(8,) * 7, num_conv_pos_embedding_groups=2, **small)
def whisper(): return made("Whisper", vocab_size=32, d_model=16, num_mel_bins=4, max_source_positions=8, **both)
def clip(): return made("CLIP", text_config=small, vision_config=dict(image_size=8, patch_size=4, **small))
def memory(): raise MemoryError("full")
SHARED = Odd()
def shared(): return SHARED, positional
constant = 3
def only_length(length): return (torch.randn(1, length, 6),)
def tensor(length, batch): return torch.randn(batch, length, 6)
def failing(length, batch): raise ValueError("no such\\nlength")
def tokens(length, batch): return {"input_ids": torch.full((batch, length), 7)}
'''


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_factories.py").write_text(SOURCE)
    (tmp_path / "broken_factories.py").write_text("import no_such_package_of_mine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


def own(function: str, mode: str = "infer", **options: Any) -> Any:
    return load(f"my_factories:{function}", attention="own", mode=mode, longest=12, **options)


@pytest.mark.parametrize("function", ["good", "tuples"])
def test_a_factory_in_the_current_directory_is_a_model(function: str) -> None:
    model = own(function)
    assert (model.entry, model.attention, model.step) == (None, "own", model.module)
    model.fit(6)
    args, kwargs = model.inputs(6, 2)
    assert model.step(*args, **kwargs)["hidden"].shape == (2, 6, 5)
    again, more = own(function).inputs(6, 2)
    assert torch.equal([*args, *kwargs.values()][0], [*again, *more.values()][0])
    same, other = own(function), own(function, seed=1)
    assert torch.equal(model.module.layer.weight, same.module.layer.weight)
    assert not torch.equal(model.module.layer.weight, other.module.layer.weight)


@pytest.mark.parametrize(
    ("function", "unit", "shapes"),
    [
        ("bert", "token", {"input_ids": (2, 12)}),
        ("t5", "token", {"input_ids": (2, 12), "decoder_input_ids": (2, 12)}),
        ("vit", "pixel", {"pixel_values": (2, 3, 12, 12)}),
        ("wav2vec2", "token", {"input_values": (2, 3920)}),
        ("whisper", "token", {"input_features": (2, 4, 16), "decoder_input_ids": (2, 12)}),
        ("clip", "token", {"input_ids": (2, 12), "pixel_values": (2, 3, 8, 8)}),
    ],
)
@pytest.mark.parametrize("mode", ["infer", "train"])
def test_a_transformers_model_can_come_alone(function: str, unit: str, shapes: dict[str, Any], mode: str) -> None:
    if (function, mode) == ("clip", "train"):
        pytest.skip("what it returns first compares the examples of a batch: no light head stands on that")
    model = own(function, mode=mode)
    model.fit(12)
    args, kwargs = model.inputs(12, 2)
    assert model.unit == unit
    assert (args, {name: tuple(value.shape) for name, value in kwargs.items()}) == ((), shapes)
    output = model.step(*args, **kwargs)
    assert output.shape == () if mode == "train" else output
    again = own(function).inputs(12, 2)[1]
    assert all(torch.equal(kwargs[name], again[name]) for name in shapes)


def test_training_gets_a_head_of_the_right_width_or_the_models_own_loss() -> None:
    model = own("good", mode="train", dtype="float64")
    model.fit(6)
    args, kwargs = model.inputs(6, 2)
    names = {name for name, _ in model.step.named_parameters()}
    assert names == {"model.layer.weight", "model.layer.bias", "head.classifier.weight", "head.classifier.bias"}
    loss = model.step(*args, **kwargs)
    assert (loss.shape, loss.dtype) == ((), torch.float64)
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.step.parameters())
    lossy = own("loss", mode="train")
    lossy.fit(6)
    args, kwargs = lossy.inputs(6, 2)
    torch.testing.assert_close(lossy.step(*args, **kwargs), lossy.module(*args, **kwargs))
    assert lossy.step.head.classifier is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "my_factories:alone",
            r"returned Odd alone, and nothing tells what it takes: return \(module, make_inputs\).*lambda",
        ),
        ("my_factories:number", "the factory my_factories:number returned int: return"),
        ("my_factories:missing", "my_factories has no function 'missing'"),
        ("my_factories:constant", "my_factories has no function 'constant'"),
        ("broken_factories:f", "broken_factories cannot be imported .*ModuleNotFoundError: No module named 'no_such"),
        ("no_such_module_here:f", "no_such_module_here cannot be imported"),
    ],
)
def test_a_factory_that_is_wrong_is_one_sentence(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        load(name, attention="own", mode="infer", longest=6)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("raising", "the factory my_factories:raising failed: ValueError: no such"),
        ("leaving", r"the factory my_factories:leaving failed: sys\.exit\(0\) was called"),
    ],
)
def test_a_factory_that_fails_by_itself_is_one_sentence(function: str, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        own(function)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 3


def test_an_interruption_is_the_users() -> None:
    with pytest.raises(KeyboardInterrupt):
        own("interrupted")


def test_an_input_maker_that_fails_is_one_sentence() -> None:
    with pytest.raises(ModelError, match=r"input maker of my_factories:breaking failed .*ZeroDivisionError"):
        own("breaking").inputs(3, 1)
    with pytest.raises(UsageError, match=r"input maker of my_factories:lists returned list: return a dict"):
        own("lists").inputs(3, 1)
    with pytest.raises(UsageError, match="has to return a tensor of hidden states or a loss, not str"):
        own("silent", mode="train").fit(3)


@pytest.mark.parametrize("inputs", ["keywords", "positional"])
def test_a_module_can_come_alone_where_its_inputs_are_given(inputs: str) -> None:
    model = own("alone", inputs=f"my_factories:{inputs}")
    model.fit(6)
    args, kwargs = model.inputs(6, 2)
    assert model.step(*args, **kwargs)["hidden"].shape == (2, 6, 5)
    assert model.unit == "unit"


def test_given_inputs_count_in_place_of_what_the_factory_says() -> None:
    replaced = own("breaking", inputs="my_factories:keywords").inputs(6, 2)[1]
    assert replaced["tensor"].shape == (2, 6, 6)
    bert = own("bert", inputs="my_factories:tokens")
    assert (bert.unit, bert.inputs(4, 2)[1]["input_ids"].tolist()) == ("token", [[7] * 4] * 2)


@pytest.mark.parametrize(
    ("model", "inputs", "message"),
    [
        ("my_factories:alone", "keywords", "the input maker is written package.module:function, not 'keywords'"),
        ("my_factories:alone", "my_factories:missing", "has no function 'missing': check the input maker my_factories"),
        ("my_factories:alone", "my_factories:constant", "my_factories has no function 'constant'"),
        ("my_factories:alone", "my_factories:only_length", r"cannot be called as function\(length, batch\): too many"),
        ("my_factories:alone", "broken_factories:f", "broken_factories cannot be imported for the input maker"),
        ("my_factories:number", "my_factories:keywords", "the factory my_factories:number returned int: return"),
        ("bert", "my_factories:keywords", "inputs can be given for a factory only, and bert is none"),
        (".", "my_factories:keywords", r"inputs can be given for a factory only, and \. is none"),
    ],
)
def test_inputs_that_cannot_be_had_are_one_sentence(model: str, inputs: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        load_model(Request(model, "base", "own", "infer", 6, "float32", "cpu", False, None, 0, inputs=inputs))
    assert "\n" not in str(caught.value)


def test_given_inputs_that_are_wrong_or_fail_are_one_sentence() -> None:
    with pytest.raises(UsageError, match="the input maker my_factories:tensor returned Tensor: return a dict"):
        own("alone", inputs="my_factories:tensor").fit(6)
    with pytest.raises(ModelError, match=r"the input maker my_factories:failing failed for length 6 .*: no such$"):
        own("alone", inputs="my_factories:failing").fit(6)


def test_running_out_of_memory_stays_what_it_is() -> None:
    with pytest.raises(MemoryError):
        own("memory")


def test_a_module_that_a_factory_returns_twice_is_not_shared() -> None:
    infer, train = own("shared"), own("shared", mode="train")
    assert (infer.module.training, train.module.training) == (False, True)
    assert infer.module.layer.weight is not train.module.layer.weight
    assert torch.equal(infer.module.layer.weight, train.module.layer.weight)
