from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from pyprof.analysis.layer_tree import kind_lines
from pyprof.analysis.shares import OUTSIDE
from pyprof.layers.device_time import BusyTime, DeviceTime, KernelTime, LayerWork, Work
from pyprof.layers.plain_steps import PlainSteps
from pyprof.layers.profile import LayerCost, Profile
from pyprof.quantity import format_seconds
from pyprof.report.layers import render, write
from pyprof.report.page.profile import profile_page
from pyprof.report.style import ASCII, Glyphs
from pyprof.statistics.estimate import Estimate


def model(blocks: int = 12, train: bool = True) -> Profile:
    """A model of blocks with attention (20 ms forward) and a feedforward layer (30 ms); backward takes twice that."""
    layers: list[LayerCost] = []

    def add(parent: int | None, path: str, kind: str, own: float, total: float, calls: int = 1) -> int:
        back, own_back = (2 * total, 2 * own) if train else (None, None)
        values = (len(layers), parent, path, f"Type{kind[:4].title()}", kind, calls, 1000 if own > 0.01 else 0)
        layers.append(LayerCost(*values, total, own, back, own_back, None, "replaced"))
        return len(layers) - 1

    root = add(None, "", "other", 0.001, 0.001 + blocks * 0.05)
    stack = add(root, "encoder", "other", 0.0, blocks * 0.05, calls=0)
    for block in range(blocks):
        above = add(stack, f"encoder.{block}", "other", 0.0, 0.05)
        add(above, f"encoder.{block}.attention_with_a_very_long_name", "self-attention", 0.02, 0.02)
        add(above, f"encoder.{block}.feedforward", "feedforward", 0.03, 0.03)
    step = (0.001 + blocks * 0.05) * (3 if train else 1) + 0.01
    return Profile(tuple(layers), 2, step, 0.01, 2 * len(layers), 0, 0)


def printed(profile: Profile, width: int = 80, marks: Glyphs | None = None, fold: bool = True) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(render(profile, width, marks or Glyphs(), title="bert base", fold=fold))
    file = console.file
    assert isinstance(file, io.StringIO)
    return [line.rstrip() for line in file.getvalue().splitlines()]


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("train", [False, True])
def test_the_table_fits_and_cuts_names_only(width: int, train: bool) -> None:
    lines = printed(model(train=train), width)
    assert max(len(line) for line in lines) <= width
    assert all("…" not in line or "attention" in line for line in lines)


def test_folded_blocks_are_means_with_shares_of_all() -> None:
    lines = printed(model(), 140)
    block = next(line for line in lines if "12 x, mean" in line)
    assert block.split() == [
        *("0", "⋯", "11", "(12", "x,", "mean)", "TypeOthe", "other", "1", "2.0", "k"),
        *("50.0", "100.0", "99.3", "─" * 16),
    ]
    feedforward = next(line for line in lines if "feedforward" in line and "TypeFeed" in line)
    assert feedforward.split()[5:10] == ["k", "30.0", "30.0", "60.0", "60.0"]
    assert feedforward.endswith(" " + "▒" * 10)
    assert any("shares and bars are of all of them together" in line for line in lines)


def test_expanded_every_block_has_its_line() -> None:
    lines = printed(model(), 140, fold=False)
    assert sum("TypeFeed" in line for line in lines) == 12
    assert not any("together" in line for line in lines)


def test_what_no_layer_has_is_no_column() -> None:
    infer, train = printed(model(train=False)), printed(model())
    assert not any("backw." in line for line in infer)
    assert any("backw." in line for line in train)
    assert not any("again" in line for line in train)
    layers = [replace(layer, recompute_seconds=0.002) for layer in model().layers]
    assert any("again" in line for line in printed(replace(model(), layers=tuple(layers))))


def test_the_step_is_one_that_nobody_looked_at_and_the_footer_says_what_looking_cost() -> None:
    plain = PlainSteps(Estimate(1.7, 1.69, 1.72), Estimate(1.0653, 1.0512, 1.0788), (17,) * 30, (18,) * 30)
    text = " ".join(printed(replace(model(), plain=plain), 200))
    assert "one step takes 1.70 s ±1.2% without probes" in text
    assert "outside all layers: 10.0 ms (0.6 %)" in text
    assert "profiling overhead: a step is 6.53 % longer with probes (5.12 to 7.88 %, 30 rounds)" in text
    assert "the layers' times are those of the probed steps, 1.81 s each, with nothing subtracted" in " ".join(
        text.split()
    )
    assert "found no room" not in text


def test_a_step_that_was_held_up_is_told_before_anything_else() -> None:
    plain = PlainSteps(Estimate(1.7), None, (17,) * 30, (None,) * 30, held_up=0.4)
    text = " ".join(printed(replace(model(), plain=plain), 80))
    assert text.index("Do not trust these times: other processes held the threads up for 40 %") < text.index("self-att")
    calm = " ".join(printed(replace(model(), plain=replace(plain, held_up=0.0)), 80))
    assert calm.index("Trust these times: other processes") > calm.index("outside all layers")


def test_without_plain_steps_the_overhead_is_blank_with_its_reason() -> None:
    text = " ".join(printed(model(), 140))
    assert "one step takes 1.81 s with the probes on" in text
    assert "profiling overhead: not measured, as no step was taken without probes (plain_step)" in text


def test_events_without_room_and_layers_without_probe_are_told() -> None:
    one = model()
    layers = tuple(
        replace(layer, attached="skipped: inside TorchScript") if "feedforward" in layer.path else layer
        for layer in one.layers
    )
    text = " ".join(printed(replace(one, layers=layers, overflowed=3)))
    assert "3 events found no room" in text
    assert "skipped: inside TorchScript: encoder.0.feedforward, encoder.1.feedforward" in text
    assert "and 9 more" in text


def test_an_ascii_terminal_gets_ascii() -> None:
    assert all(line.replace("─", "-").replace("µ", "u").isascii() for line in printed(model(1), marks=ASCII))


def test_the_notes_come_last() -> None:
    console = Console(file=io.StringIO(), width=80, color_system=None)
    write(replace(model(), notes=("padded to 512 tokens",)), console, title="bert base", expand=True)
    file = console.file
    assert isinstance(file, io.StringIO)
    assert file.getvalue().rstrip().endswith("padded to 512 tokens")


@pytest.mark.parametrize("width", [80, 140])
def test_the_kinds_come_first_with_their_shares_and_the_tree_has_percentages(width: int) -> None:
    lines = printed(model(train=False), width)
    assert [line.split()[1:4] for line in lines[2:6]] == [
        ["feedforward", "58.9", "%"],
        ["self-attention", "39.3", "%"],
        ["outside", "1.6", "%"],
        ["other", "0.2", "%"],
    ]
    feedforward = next(line for line in lines if " feedforward" in line and "▒" in line and "%" not in line)
    assert "58.9" in feedforward.split()
    assert lines[2].count("▒") > 20


def test_printing_a_profile_is_the_table_in_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    one = replace(model(), notes=("padded to 512 tokens",))
    for width in (80, 140):
        monkeypatch.setenv("COLUMNS", str(width))
        console = Console(file=io.StringIO(), width=width, color_system=None)
        write(one, console, title="TypeOthe")
        file = console.file
        assert isinstance(file, io.StringIO)
        assert str(one).splitlines() == [line.rstrip() for line in file.getvalue().splitlines()]
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b" not in str(one)


def test_a_terminal_without_such_characters_is_printed_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    print(model(1))


def test_kinds_that_only_a_fused_layer_holds_have_a_filling_and_no_time() -> None:
    one = model(1, train=False)
    layers = [replace(one.layers[0], kind="fused")]
    layers += [
        replace(layer, calls=0, forward_seconds=None, own_forward_seconds=None, reason="not called")
        for layer in one.layers[1:]
    ]
    lines = printed(replace(one, layers=tuple(layers)))
    assert any(line.split() == ["██", "self-attention"] for line in lines)


def test_a_step_without_time_divides_nothing_by_zero() -> None:
    one = model(1)
    layers = tuple(replace(layer, forward_seconds=0.0, own_forward_seconds=0.0) for layer in one.layers[:1])
    printed(replace(one, layers=layers, step_seconds=0.0, outside_seconds=0.0))


@pytest.mark.parametrize(("calls", "shown"), [(0.5, "0.5"), (1.5, "1.5"), (0.25, "0.25"), (1 / 3, "0.333"), (2, "2")])
def test_half_a_call_is_not_none(calls: float, shown: str) -> None:
    layers = tuple(replace(layer, calls=calls) for layer in model(1).layers)
    lines = printed(replace(model(1), layers=layers), 140)
    assert next(line for line in lines if "TypeSelf" in line).split()[3] == shown


def test_the_second_order_and_what_ran_beside_have_columns_where_there_is_any() -> None:
    text = " ".join(printed(model()))
    assert "2nd" not in text
    assert "beside" not in text
    layers = [replace(layer, second_order_seconds=0.002, beside_seconds=0.003) for layer in model(1).layers]
    lines = printed(replace(model(1), layers=tuple(layers)), 140)
    assert next(line for line in lines if "TypeSelf" in line).split()[-4:-2] == ["2.0", "3.0"]
    text = " ".join(lines)
    assert "2nd: the part of a layer's own backward" in text
    assert "beside: 15.0 ms that layers took in other threads" in text


def test_backward_nodes_without_a_layer_are_told() -> None:
    assert "7 backward nodes came too long after the forward" in " ".join(printed(replace(model(), unplaced=7), 140))


def on_a_gpu(train: bool = True) -> Profile:
    """The same model where the device works a tenth of the host's time for each layer."""
    profile = model(train=train)

    def work(seconds: float | None) -> Work | None:
        return None if seconds is None else Work(seconds / 10, 3, launches=3)

    layers = []
    for layer in profile.layers:
        forward, own = work(layer.forward_seconds), work(layer.own_forward_seconds)
        assert forward
        assert own
        layers.append(
            LayerWork(forward, own, work(layer.backward_seconds), work(layer.own_backward_seconds), None, None)
        )
    parts = [one for layer in layers for one in (layer.own_forward, layer.own_backward) if one is not None]
    outside = Work(copy_seconds=0.001, copies=1, launches=1)
    total = Work(sum(one.kernel_seconds for one in parts), 3 * len(parts), 0.001, 1, launches=3 * len(parts) + 1)
    busy = BusyTime(0, total.seconds, profile.step_seconds - total.seconds, 0.8 * profile.step_seconds)
    kernels = (KernelTime("void space::gemm<1>(int)", "gemm", 0.9 * total.kernel_seconds, 96.5),)
    device = DeviceTime(tuple(layers), 2, outside, Work(), total, (busy,), kernels, streams=1)
    profile = replace(profile, device_time=device)
    profile.self_check()
    return profile


@pytest.mark.parametrize("width", [80, 120, 140])
@pytest.mark.parametrize("train", [False, True])
def test_the_table_of_a_gpu_fits_and_has_both_times(width: int, train: bool) -> None:
    lines = printed(on_a_gpu(train), width)
    assert max(len(line) for line in lines if "longest" not in line) <= width
    assert any("forward" in line and "device" in line for line in lines)
    assert any("d.back" in line for line in lines) == train
    assert any("kernels" in line and "calls" in line for line in lines) == (width >= 140)


def test_the_shares_of_a_gpu_are_of_the_devices_time() -> None:
    lines = printed(on_a_gpu(), 140)
    block = next(line for line in lines if "12 x, mean" in line)
    assert block.split()[8:] == ["1", "2.0", "k", "50.0", "100.0", "5.0", "10.0", "6", "99.3", "─" * 6]
    text = " ".join(lines)
    assert "the device works 181 ms of it (10 %); launch-bound: for 80 % of it the host had launched nothing" in text
    assert "launched outside all layers: 1.00 ms (0.6 %)" in text
    assert "1 copy 1.00 ms, 0 memsets 0 s" in text
    assert "162 ms  90.0 %    96.5 x void space::gemm<1>(int)" in text
    assert "90.0 %    96.5 x gemm" in " ".join(printed(on_a_gpu(), 80))


def test_devices_that_worked_are_told_one_by_one_and_the_longest_is_the_step_s() -> None:
    profile = on_a_gpu()
    assert profile.device_time is not None
    (one,) = profile.device_time.devices
    both = (one, replace(one, device=3, busy_seconds=0.5, idle_seconds=0.1))
    profile = replace(profile, device_time=replace(profile.device_time, devices=both))
    lines = printed(profile, 140)
    assert f"busy: cuda:0 {format_seconds(one.busy_seconds)}, cuda:3 500 ms" in " ".join(lines)
    assert "the device works 500 ms of it (83 %)" in " ".join(lines)


def test_the_page_says_what_the_device_works_and_draws_its_layers() -> None:
    page = profile_page(on_a_gpu(), "bert", "bfloat16", None)
    assert "the device works 181 ms of it (10 %); launch-bound: for 80 % of it the host had launched nothing" in page
    assert "Time of the device in each layer" in page
    assert "Time of the device" not in profile_page(model(), "bert", "bfloat16", None)


def test_the_bars_of_kinds_are_of_the_devices_time_where_it_is_known() -> None:
    profile = on_a_gpu()
    assert profile.device_time is not None
    lines = {line.kind: line for line in kind_lines(profile)}
    on_host = {line.kind: line for line in kind_lines(model())}
    # A tenth of each layer's time on the host, and of the device's whole; a millisecond of copies is of no layer.
    for kind, line in lines.items():
        if kind != OUTSIDE:
            assert line.seconds == pytest.approx(on_host[kind].seconds / 10)
            assert line.share == pytest.approx(line.seconds / profile.device_time.total.seconds)
    assert lines[OUTSIDE].seconds == pytest.approx(0.001)
    assert sum(line.share for line in lines.values()) == pytest.approx(1)
    assert on_host[OUTSIDE].seconds == pytest.approx(model().outside_seconds)
    printed_lines = printed(profile, 100)
    assert next(line for line in printed_lines if line.split()[1:2] == ["outside"]).split()[2:4] == ["0.6", "%"]


def test_a_profile_by_the_devices_times_sums_to_its_step() -> None:
    profile = on_a_gpu()
    assert profile.device_time is not None
    shown = profile.on_device()
    assert shown.step_seconds == pytest.approx(profile.device_time.busy_seconds + profile.device_time.idle_seconds)
    own = sum(forward + (backward or 0.0) for forward, backward, _ in shown.kinds().values())
    assert own + shown.outside_seconds == pytest.approx(shown.step_seconds)
    for layer, before in zip(shown.layers, profile.layers, strict=True):
        assert before.own_forward_seconds is not None
        assert layer.own_forward_seconds == pytest.approx(before.own_forward_seconds / 10)
    assert model().on_device() == model()


def test_json_has_the_devices_columns() -> None:
    device = on_a_gpu().to_json()["device_time"]
    assert set(device) >= {"busy_seconds", "idle_seconds", "launch_bound_share", "outside", "unknown", "kernels"}
    assert device["layers"]["own_backward_kernel_seconds"][-1] == pytest.approx(0.006)
    assert len(device["layers"]["forward_launches"]) == len(model().layers)
    assert model().to_json()["device_time"] is None
