"""Kernels' names as a reader wants them: without types, namespaces and arguments, but with what tells them apart."""

from __future__ import annotations

import re

# Kernels that run what they are given: alone their names say nothing.
_SHELLS = re.compile(
    r"^(Kernel2?|device_kernel|kernel|.*elementwise_kernel.*|reduce_kernel|index_elementwise_kernel|DeviceReduce.*"
    r"|DeviceScan.*|triton_|_?static_kernel|agent_launcher_kernel)$"
)
_WORD = re.compile(r"[A-Za-z_]\w*")
_LONGEST_HINT = 72
# Words of a template's arguments that say nothing about what is computed.
_SAYS_NOTHING = frozenset(
    _WORD.findall("""
        at native std c10 cuda detail internal lambda operator const unsigned signed int long short char bool float
        double void auto true false nv_bfloat16 __nv_bfloat16 __half BFloat16 Half Array array TensorIteratorBase
        OffsetCalculator TrivialOffsetCalculator cutlass cute gemm kernel collective epilogue Kernel threadblock
        enable_if BinaryFunctor AUnaryFunctor BUnaryFunctor ReduceOp func_wrapper_t gpu_kernel_impl
    """)
)


def short_name(name: str) -> str:
    """The short form of a demangled name; a kernel that runs a function it is given shows that one in brackets.

    ``void at::native::vectorized_elementwise_kernel<4, at::native::GeluCUDAKernelImpl(...)>(...)`` becomes
    ``vectorized_elementwise_kernel<GeluCUDAKernelImpl>``.
    """
    head, arguments = _split(name.replace("(anonymous namespace)::", ""))
    base = head.rsplit("::", 1)[-1].strip().rpartition(" ")[2]
    if not base:
        return name
    if not arguments or not _SHELLS.match(base):
        return base
    hint = next((word for word in _WORD.findall(arguments) if word not in _SAYS_NOTHING), None)
    return f"{base}<{hint[:_LONGEST_HINT]}>" if hint else base


def _split(name: str) -> tuple[str, str]:
    """What stands before the last template argument list of the function's own name, and what stands in that list."""
    depth = 0
    begin = None
    head_end = len(name)
    for place, letter in enumerate(name):
        if letter == "<":
            if depth == 0:
                begin = place
            depth += 1
        elif letter == ">" and depth:
            depth -= 1
            if depth == 0 and begin is not None:
                if name.startswith("::", place + 1):
                    continue  # a class's arguments; the function's own name is yet to come
                return name[:begin], name[begin + 1 : place]
        elif letter == "(" and depth == 0:
            head_end = place
            break
    return name[: begin if depth else head_end], ""
