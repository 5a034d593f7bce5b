from __future__ import annotations

import importlib.util
import io
import os
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq_files import BASE, as_omegaconf, checkpoint, foreign_classes, hubert, old_arguments, save, with_state
from torch.serialization import load as torch_load

from pyprof.errors import UsageError
from pyprof.models.fairseq.checkpoint import read_checkpoint
from pyprof.models.fairseq.pickle import Inert, load_inert, plain


class Calls:
    """Pickles as a call of any function with any arguments."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.reduced = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.reduced


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    return checkpoint(hubert())


def same_weights(found: Any, content: dict[str, Any]) -> None:
    assert found.weights.keys() == content["model"].keys()
    for name, tensor in content["model"].items():
        assert torch.equal(found.weights[name], tensor), name


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_plain_containers_need_no_more_than_weights_only(content: dict[str, Any], tmp_path: Path, legacy: bool) -> None:
    found = read_checkpoint(save(content, tmp_path / "plain.pt", legacy))
    assert (found.reading, found.not_imported) == ("weights only", ())
    assert found.settings["model"] == BASE
    same_weights(found, content)


def test_arguments_of_before_the_configurations(content: dict[str, Any], tmp_path: Path) -> None:
    found = read_checkpoint(save({**content, "cfg": None, "args": old_arguments(BASE)}, tmp_path / "old.pt"))
    assert found.reading == "weights only"
    assert found.settings["encoder_embed_dim"] == 32


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_classes_that_do_not_exist_here_are_data(content: dict[str, Any], tmp_path: Path, legacy: bool) -> None:
    with foreign_classes() as classes:
        settings = {**BASE, "list": [1, {"deep": None}], "rate": "${task.rate}"}
        extractor = with_state(classes["Extractor"], _value_="x")
        made = {
            **content,
            "cfg": as_omegaconf({"model": settings, "task": {"sample_rate": 16000}}, classes),
            "task_state": {"dictionaries": [with_state(classes["Dictionary"], symbols=["<s>"], indices={"<s>": 0})]},
            "extra_state": {"extractor": extractor, "steps": {1, 2}},
        }
        path = save(made, tmp_path / "foreign.pt", legacy)
    present = {name for name in sys.modules if name.partition(".")[0] in ("fairseq", "omegaconf")}
    found = read_checkpoint(path)
    assert found.reading == "as data"
    assert {"fairseq.data.dictionary.Dictionary", "omegaconf.dictconfig.DictConfig"} <= set(found.not_imported)
    assert found.settings == {"model": settings, "task": {"sample_rate": 16000}}
    same_weights(found, content)
    # Reading imports nothing: what was not there before is not there now.
    assert {name for name in sys.modules if name.partition(".")[0] in ("fairseq", "omegaconf")} == present


def test_an_enumeration_is_its_value() -> None:
    member = type("Member", (Inert,), {"origin": "some.Choice"})("layer_norm")
    assert plain({"mode": member}) == {"mode": "layer_norm"}
    assert repr(member) == "<some.Choice, not imported>"


@pytest.mark.parametrize("where", ["cfg", "task_state", "model", "top"])
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_a_malicious_file_runs_nothing(content: dict[str, Any], tmp_path: Path, legacy: bool, where: str) -> None:
    mark = tmp_path / "ran"
    evil = Calls(os.system, f"touch {mark}")
    if where == "top":
        made: Any = evil
    elif where == "task_state":
        made = {**content, "task_state": {"dictionaries": [evil]}}
    else:
        made = {**content, where: {**content[where], "evil": evil}}
    path = save(made, tmp_path / "evil.pt", legacy)
    if where in ("model", "top"):
        with pytest.raises(UsageError, match="no fairseq checkpoint" if where == "top" else "'evil' first"):
            read_checkpoint(path)
    else:
        found = read_checkpoint(path)
        assert "posix.system" in found.not_imported
        same_weights(found, content)
    assert not mark.exists()
    # The same file does run its command for a reader who trusts it, so the check above can fail.
    if where == "cfg":
        read_checkpoint(path, trust_pickle=True)
        assert mark.exists()


def test_a_file_cannot_change_the_makers_of_tensors(tmp_path: Path) -> None:
    # Pickle's BUILD sets the attributes of any object, functions included.
    for target in (b"ctorch._utils\n_rebuild_tensor_v2\n", b"ccollections\nOrderedDict\n", b"cos\nsystem\n"):
        path = with_program(tmp_path / "build.pt", b"\x80\x02" + target + b"}X\x01\x00\x00\x00xK\x01sb.")
        with pytest.raises((pickle.UnpicklingError, TypeError)):
            load_inert(path)


def test_stubs_cannot_be_called(tmp_path: Path) -> None:
    # functools.partial(print)("...") as a program: the object that the first call made is called in turn.
    program = b"\x80\x02cfunctools\npartial\ncbuiltins\nprint\n\x85R)R."
    with pytest.raises(TypeError, match="not callable"):
        load_inert(with_program(tmp_path / "call.pt", program))


def with_program(path: Path, program: bytes) -> Path:
    """A file of torch.save whose pickle is replaced by another program."""
    buffer = io.BytesIO()
    torch.save({}, buffer)
    with zipfile.ZipFile(buffer) as before, zipfile.ZipFile(path, "w") as after:
        for name in before.namelist():
            after.writestr(name, program if name.endswith("data.pkl") else before.read(name))
    return path


def test_a_tensor_that_reaches_beyond_its_storage_is_refused(tmp_path: Path) -> None:
    untyped = torch.arange(4.0).untyped_storage()
    storage = torch.storage.TypedStorage(wrap_storage=untyped, dtype=torch.float32, _internal=True)
    refused = [(0, (5,), (1,)), (3, (2,), (1,)), (-1, (1,), (1,)), (0, (2,), (-1,)), (0, (2, 2), (3, 1))]
    for offset, size, stride in refused:
        made = {"more": Calls(os.getcwd), "t": Calls(torch._utils._rebuild_tensor_v2, storage, offset, size, stride)}
        with pytest.raises(pickle.UnpicklingError, match="beyond its storage"):
            load_inert(save(made, tmp_path / "beyond.pt"))
    fits = {"t": Calls(torch._utils._rebuild_tensor_v2, storage, 0, (2, 2), (2, 1), False, {})}
    assert load_inert(save(fits, tmp_path / "fits.pt"))[0]["t"].tolist() == [[0.0, 1.0], [2.0, 3.0]]


def test_trusting_is_explicit_and_reads_everything(content: dict[str, Any], tmp_path: Path) -> None:
    path = save({**content, "task_state": Calls(os.getcwd)}, tmp_path / "trusted.pt")
    found = read_checkpoint(path, trust_pickle=True)
    assert found.reading == "pickle"
    same_weights(found, content)
    with foreign_classes() as classes:
        save({**content, "task_state": classes["Dictionary"]()}, path)
    if importlib.util.find_spec("fairseq") is None:
        with pytest.raises(UsageError, match="cannot be unpickled in full"):
            read_checkpoint(path, trust_pickle=True)


def test_shared_and_strided_tensors_and_parameters_survive(tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    made = {
        "a": whole.t(),
        "b": whole[1:],
        "c": torch.nn.Parameter(whole.half()),
        "d": torch.empty(0, 3),
        "e": Calls(os.getcwd),
    }
    found, names = load_inert(save(made, tmp_path / "tensors.pt"))
    for name in "abcd":
        assert torch.equal(found[name], made[name])
        assert found[name].dtype == made[name].dtype
    assert names == ("posix.getcwd",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": None}, "the weights in .* are no dict"),
        ({"cfg": None}, "has no configuration"),
        ({"model": {"a": 1}}, "1 weights in .*, 'a' first"),
    ],
)
def test_what_is_no_checkpoint(content: dict[str, Any], tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        read_checkpoint(save({**content, **change}, tmp_path / "bad.pt"))
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no file"):
        read_checkpoint(tmp_path / "nowhere.pt")
    torn = tmp_path / "torn.pt"
    torn.write_bytes(b"torn")
    with pytest.raises(UsageError, match=r"is damaged, or cannot be read .*only if you trust") as caught:
        read_checkpoint(torn)
    assert "\n" not in str(caught.value)
    half = save({"model": torch.ones(9)}, tmp_path / "half.pt")
    half.write_bytes(half.read_bytes()[:-100])
    with pytest.raises(UsageError, match=r"half\.pt"):
        read_checkpoint(half)
    with pytest.raises(UsageError, match="no entry 'model'"):
        read_checkpoint(save([1, 2], tmp_path / "list.pt"))


def test_a_program_of_torchscript_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "script.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("script/constants.pkl", pickle.dumps(()))
    with pytest.raises(UsageError, match="TorchScript"):
        read_checkpoint(path)


def test_torch_load_is_left_as_it_was(content: dict[str, Any], tmp_path: Path) -> None:
    path = save({**content, "task_state": old_arguments(BASE)}, tmp_path / "namespace.pt")
    assert read_checkpoint(path).reading == "weights only"
    # A namespace is allowed inside of the reading only.
    with pytest.raises(pickle.UnpicklingError):
        torch_load(path, weights_only=True)
