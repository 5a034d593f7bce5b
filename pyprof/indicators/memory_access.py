"""Memory access: the bytes that the operators of one step read and write at least."""

from __future__ import annotations

from pyprof.indicators.indicator import Indicator, Step
from pyprof.records.reading import Reading

_UNMEASURED = (
    "counters of memory traffic are not read, which would take CUPTI's range profiler: Nsight Compute tells them by "
    "kernel (ncu --metrics dram__bytes_read.sum,dram__bytes_write.sum)"
)


def count(step: Step) -> Reading:
    """Bytes that the operators of one step read and write if each finds nothing in a cache and reads nothing twice.

    The detail tells them apart and has the arithmetic intensity, FLOPs by byte, and the operators with most of it.
    What the memory really moved is not read.
    """
    from pyprof.indicators.counting.operators import operators_of

    found = operators_of(step)
    read, written = found.total("read"), found.total("written")
    both, writes = found.by_operator("read"), found.by_operator("written")
    by_operator = {name: both.get(name, 0) + writes.get(name, 0) for name in both | writes}
    detail = {
        "read": read,
        "written": written,
        "intensity": 2 * found.total("macs") / max(read + written, 1),
        "measured": None,
        "measured_reason": _UNMEASURED,
        "by_operator": {name: by_operator[name] for name in sorted(by_operator, key=lambda each: -by_operator[each])},
    }
    return Reading(float(read + written), detail=detail)


INDICATOR = Indicator(
    name="memory_access",
    title="Memory access",
    unit="B",
    format="bytes",
    better="lower",
    scope="of one example",
    meaning="bytes that the operators of one step read and write at least: every input and every output once, "
    "nothing kept in a cache from one operator to the next",
    source="Ma et al., ShuffleNet V2, ECCV 2018; Dehghani et al., The Efficiency Misnomer, ICLR 2022",
    exact=True,
    place=55,
    usual=False,
    read=count,
)
