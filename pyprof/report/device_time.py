"""What the layer table of a profile says of the device: columns beside those of the host, and sentences below it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.text import Text

from pyprof.analysis.device_lines import DeviceLine
from pyprof.layers.device_time import DeviceTime
from pyprof.quantity import format_count, format_seconds
from pyprof.report.style import scale

SHOWN_KERNELS = 5


def device_columns(lines: Sequence[DeviceLine], wide: bool) -> list[tuple[str, Callable[[int], Text]]]:
    """Titles, in two lines, and what stands in each line of the table, by its number."""
    longest = max((max(line.forward_seconds, line.backward_seconds or 0.0) for line in lines), default=0.0)
    unit = scale([longest / 100], "time")
    decimals = 1 if longest >= 100 * unit.factor else 2

    def time(part: str, style: str = "") -> Callable[[int], Text]:
        def text(number: int) -> Text:
            seconds = getattr(lines[number], part)
            return Text(f"{seconds / unit.factor:,.{decimals}f}" if seconds else "", style)

        return text

    def kernels(number: int) -> Text:
        count = lines[number].kernels
        return Text(format_count(count) if count else "", "dim")

    title = f"\n({unit.unit})"
    columns = [(f"device{title}", time("forward_seconds")), (f"own{title}", time("own_forward_seconds", "bold"))]
    if any(line.backward_seconds is not None for line in lines):
        columns += [(f"d.back{title}", time("backward_seconds")), (f"own{title}", time("own_backward_seconds", "bold"))]
    if any(line.recompute_seconds is not None for line in lines):
        columns.append((f"d.again{title}", time("recompute_seconds")))
    if wide:
        columns.append(("\nkernels", kernels))
    return columns


def device_sentence(device: DeviceTime) -> Text:
    """What the device did of a step, in a sentence."""
    busy = device.busy_seconds
    whole = busy + device.idle_seconds
    text = Text.assemble(
        f"the device works {format_seconds(busy)} of it",
        f" ({100 * busy / whole:.0f} %)" if whole else "",
    )
    if whole and busy < 0.5 * whole:
        text.append(
            f"; launch-bound: for {100 * device.launch_bound_share:.0f} % of it the host had launched nothing more",
            "yellow",
        )
    return text


def device_footer(device: DeviceTime, wide: bool) -> list[Text]:
    """Sentences below the table."""
    total = device.total
    said = [
        Text(
            "forward, backw.: the host's time, in which it launches work; device: the time of the kernels, copies and "
            "memsets that a layer launched; shares are of the device's time",
            "dim",
        )
    ]
    if device.outside.seconds:
        share = 100 * device.outside.seconds / total.seconds
        said.append(Text(f"launched outside all layers: {format_seconds(device.outside.seconds)} ({share:.1f} %)"))
    if total.copies or total.memsets:
        said.append(
            Text(
                f"of the device's {format_seconds(total.seconds)}: {_times(total.kernels, 'kernel')} "
                f"{format_seconds(total.kernel_seconds)}, {_times(total.copies, 'copy', 'copies')} "
                f"{format_seconds(total.copy_seconds)}, {_times(total.memsets, 'memset')} "
                f"{format_seconds(total.memset_seconds)}",
                "dim",
            )
        )
    if len(device.devices) > 1:
        each = ", ".join(f"cuda:{one.device} {format_seconds(one.busy_seconds)}" for one in device.devices)
        said.append(Text(f"busy: {each}", "dim"))
    longest = device.kernels[:SHOWN_KERNELS]
    if longest and total.kernel_seconds:
        said.append(Text("longest kernels:"))
        for kernel in longest:
            share = 100 * kernel.seconds / total.kernel_seconds
            name = kernel.name if wide and len(kernel.name) < 80 else kernel.short
            said.append(
                Text(f"  {format_seconds(kernel.seconds):>9} {share:5.1f} % {kernel.count:7,.4g} x {name}", "dim")
            )
    return said


def _times(count: float, noun: str, plural: str | None = None) -> str:
    return f"{count:,.4g} {noun if count == 1 else plural or noun + 's'}"
