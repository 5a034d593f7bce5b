"""The operators of sliding-window attention, registered with PyTorch by importing this (csrc/window_attention)."""

from typing import Any, Literal, overload

from torch import Tensor

def cpu_isa(type: str) -> str: ...
def choices() -> list[dict[str, Any]]: ...
def choice(
    backward: bool,
    is_16_bit: bool,
    head_dim: int,
    left: int,
    right: int,
    own_keys: bool,
    dropout: bool,
    global_keys: bool,
    hopper: bool,
    one_pass: bool,
    /,
) -> int: ...
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
    global_keys: int,
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
    global_keys: int,
    with_lse: Literal[True],
    /,
) -> tuple[Tensor, Tensor] | None: ...
