from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from pyprof.device.memory import resident_bytes
from pyprof.errors import UsageError
from pyprof.indicators.parameters import count
from pyprof.layers.instrument import instrument
from pyprof.models.registry import ENTRIES, Entry, load


class Tied(nn.Module):
    """An embedding tied to the output layer, a layer used twice, and a parameter of the model's own."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.embedding = nn.Embedding(10, 4)
        self.norm = nn.LayerNorm(4)
        self.again = self.norm
        self.output = nn.Linear(4, 10)
        self.output.weight = self.embedding.weight


def test_tied_parameters_count_once_and_stay_tied() -> None:
    module: Any = Tied()
    reading = count(SimpleNamespace(module=module))  # type: ignore[arg-type]
    assert reading.value == 3 + 10 * 4 + 2 * 4 + 10
    assert module.output.weight is module.embedding.weight
    assert dict(module.output.named_parameters()).keys() == {"weight", "bias"}


def test_frozen_parameters_are_told_apart() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    module[0].requires_grad_(False)
    reading = count(SimpleNamespace(module=module))  # type: ignore[arg-type]
    assert (reading.value, reading.detail) == (30.0, {"trainable": 10, "bytes": 120})


@pytest.mark.parametrize("one", ENTRIES, ids=lambda one: one.name)
def test_models_are_counted_without_the_head_of_a_training_step(one: Entry) -> None:
    model = load(one.name, size="tiny", attention="then", mode="train", longest=64)
    step: Any = SimpleNamespace(module=model.module)
    assert count(step).value == sum(parameter.numel() for parameter in model.module.parameters())


def counted(module: nn.Module) -> tuple[float | None, int]:
    """The indicator of a module, held against the sum over the layers of a profile."""
    reading = count(SimpleNamespace(module=module))  # type: ignore[arg-type]
    with instrument(module) as probes:
        pass
    assert sum(layer.parameters for layer in probes.profile().layers) == reading.value
    return reading.value, reading.detail["trainable"]


def shared_linear() -> nn.Module:
    shared = nn.Linear(10, 10)
    return nn.Sequential(nn.Sequential(shared), nn.Sequential(shared), nn.Linear(10, 3))


def shared_prelu() -> nn.Module:
    activation = nn.PReLU()
    return nn.Sequential(nn.Linear(10, 10), activation, nn.Linear(10, 1, bias=False), activation, activation)


def shared_in_a_list_and_an_attribute() -> nn.Module:
    module: Any = nn.Module()
    module.first = nn.Linear(4, 4)
    module.layers = nn.ModuleList([module.first, nn.ModuleList([module.first])])
    return module  # type: ignore[no-any-return]


class Views(nn.Module):
    """Parameters that show one storage: two halves, a column of the second half, all of it, and a row thrice."""

    def __init__(self) -> None:
        super().__init__()
        flat = torch.zeros(6, 4)
        self.low = nn.Parameter(flat[:3])
        self.high = nn.Parameter(flat[3:], requires_grad=False)
        self.column = nn.Parameter(flat[3:, 1])
        self.whole = nn.Parameter(flat.t(), requires_grad=False)
        self.repeated = nn.Parameter(torch.zeros(5).expand(3, 5))


@pytest.mark.parametrize(
    ("module", "parameters", "trainable"),
    [
        (shared_linear(), 143, 143),
        (shared_prelu(), 121, 121),
        (shared_in_a_list_and_an_attribute(), 20, 20),
        (Views(), 29, 20),
    ],
    ids=["linear in two places", "PReLU in three places", "list and attribute", "views of one storage"],
)
def test_what_is_shared_counts_once(module: nn.Module, parameters: int, trainable: int) -> None:
    assert counted(module) == (parameters, trainable)


@pytest.mark.parametrize(
    "module",
    [
        nn.TransformerEncoderLayer(8, 2, 16),
        nn.LSTM(3, 5, 2),
        nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).requires_grad_(False),
    ],
    ids=["transformer", "lstm", "frozen"],
)
def test_torchinfo_gives_the_same_where_nothing_is_shared(module: nn.Module) -> None:
    import torchinfo

    summary = torchinfo.summary(module, verbose=0)
    assert counted(module) == (summary.total_params, summary.trainable_params)


def quantised(module: nn.Module, kinds: set[type[nn.Module]], dtype: torch.dtype = torch.qint8) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made: nn.Module = torch.ao.quantization.quantize_dynamic(module, kinds, dtype=dtype)
        return made


@pytest.mark.parametrize("dtype", [torch.qint8, torch.float16], ids=["int8", "float16"])
@pytest.mark.parametrize(
    ("module", "kind"),
    [(nn.Linear(512, 512), nn.Linear), (nn.LSTM(8, 16, 2), nn.LSTM), (nn.GRUCell(4, 6), nn.GRUCell)],
    ids=["linear", "lstm", "gru cell"],
)
def test_packed_weights_count_as_what_they_stand_for(
    module: nn.Module, kind: type[nn.Module], dtype: torch.dtype
) -> None:
    expected = sum(parameter.numel() for parameter in module.parameters())
    assert counted(quantised(nn.Sequential(module), {kind}, dtype)) == (expected, 0)


def test_packed_convolutions_and_tables_count_without_their_settings() -> None:
    from torch.ao.nn import quantized

    assert counted(quantized.Conv2d(3, 8, 3)) == (8 * 3 * 9 + 8, 0)
    assert counted(quantized.Embedding(10, 16)) == (160, 0)


def test_a_packed_layer_that_is_shared_counts_once() -> None:
    made: Any = quantised(nn.Sequential(nn.Linear(4, 4)), {nn.Linear})
    assert counted(nn.Sequential(made[0], nn.Sequential(made[0], nn.Linear(2, 2)))) == (26, 6)


@pytest.mark.parametrize("layout", ["coo", "csr", "csc"])
def test_a_sparse_parameter_counts_the_values_that_it_stores(layout: str) -> None:
    module = nn.Module()
    matrix = torch.eye(100)
    module.weight = nn.Parameter(matrix.to_sparse() if layout == "coo" else getattr(matrix, f"to_sparse_{layout}")())
    assert counted(module) == (100, 100)


@pytest.mark.parametrize("inside", [False, True], ids=["whole", "a part"])
def test_a_frozen_program_gives_a_reason_and_no_number(inside: bool) -> None:
    program: Any = torch.jit.freeze(torch.jit.script(nn.Linear(3, 3).eval()))
    module = nn.Sequential(nn.Linear(3, 3), program) if inside else program
    reading = count(SimpleNamespace(module=module))  # type: ignore[arg-type]
    assert reading.value is None
    assert "count them before torch.jit.freeze" in str(reading.reason)


def test_a_program_that_is_not_frozen_counts() -> None:
    module = nn.Sequential(torch.jit.script(nn.Linear(3, 3)), torch.jit.script(nn.ReLU()))
    assert counted(module) == (12, 12)


def test_meta_parameters_count_and_lazy_ones_are_refused() -> None:
    with torch.device("meta"):
        assert counted(shared_linear()) == (143, 143)
    with pytest.raises(UsageError, match="run one, then count"):
        count(SimpleNamespace(module=nn.LazyLinear(3)))  # type: ignore[arg-type]


class Packed(torch.Tensor):
    """A matrix of numbers of four bits, two of which lie in one byte, as torchao has them."""

    data_bytes: torch.Tensor

    @staticmethod
    def __new__(cls, data_bytes: torch.Tensor) -> Packed:
        shape = (data_bytes.shape[0], 2 * data_bytes.shape[1])
        return torch.Tensor._make_wrapper_subclass(cls, shape, dtype=torch.float32)  # type: ignore[attr-defined,no-any-return]

    def __init__(self, data_bytes: torch.Tensor) -> None:
        self.data_bytes = data_bytes

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["data_bytes"], None

    @staticmethod
    def __tensor_unflatten__(parts: dict[str, torch.Tensor], *_: Any) -> Packed:
        return Packed(parts["data_bytes"])

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return cls(args[0].data_bytes) if func is torch.ops.aten.detach.default else NotImplemented


def test_a_weight_packed_inside_of_a_tensor_counts_its_elements() -> None:
    module = nn.Module()
    module.weight = nn.Parameter(Packed(torch.zeros(8, 4, dtype=torch.uint8)), requires_grad=False)
    module.again = module.weight
    assert counted(module) == (64, 0)
    assert resident_bytes(module) == 32
