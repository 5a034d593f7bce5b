"""The operators of sliding-window attention, registered with PyTorch by importing this (csrc/window_attention)."""

from typing import Literal, overload

from torch import Tensor

def cpu_isa(type: str) -> str: ...
@overload
def call(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    window: object,
    key_lengths: Tensor | None,
    scale: float | None,
    dropout_p: float,
    impl: str,
    with_lse: Literal[False],
    /,
) -> Tensor | None: ...
@overload
def call(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    window: object,
    key_lengths: Tensor | None,
    scale: float | None,
    dropout_p: float,
    impl: str,
    with_lse: Literal[True],
    /,
) -> tuple[Tensor, Tensor] | None: ...
