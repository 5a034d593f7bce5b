"""How many multiply-adds an operator does, by their shapes: products, convolutions, attention, transforms.

A formula takes the operator's arguments as PyTorch's schema has them and its result. Attention counts every pair of a
query and a key, also those that a mask hides, so that a fused kernel and the same products written out count alike;
its backward counts the scores that it computes anew, since it does. `torch.utils.flop_counter` holds what others
register, our own operators among them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import log2, prod
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import flop_registry

Arguments = tuple[Any, ...]
Formula = Callable[[Arguments, Any], int]


def multiply_adds(operator: Any, args: Arguments, kwargs: Mapping[str, Any], result: Any) -> int | None:
    """The multiply-adds of one call, None for an operator that has no formula."""
    formula = _FORMULAS.get(operator._schema.name)
    if formula is not None:
        return formula(args, result)
    registered = flop_registry.get(operator._overloadpacket)
    return None if registered is None else int(registered(*args, **kwargs, out_val=result)) // 2


def has_formula(operator: Any) -> bool:
    """Whether `multiply_adds` counts the operator."""
    return operator._schema.name in _FORMULAS or operator._overloadpacket in flop_registry


def _product(left: Tensor, right: Tensor) -> int:
    """(..., m, k) by (..., k, n), or by a vector; of a sparse matrix only what it stores takes part."""
    columns = right.shape[-1] if right.dim() > 1 else 1
    if left.layout in _SPARSE:
        return left._nnz() * _block(left) * columns
    if right.layout in _SPARSE:
        return right._nnz() * _block(right) * left.shape[-2]
    return left.numel() * columns


def _block(matrix: Tensor) -> int:
    """How many numbers one stored entry of a sparse matrix holds."""
    return prod(matrix._values().shape[1:] if matrix.layout is torch.sparse_coo else matrix.values().shape[1:])


def _rows(args: Arguments, result: Any) -> int:
    """A linear layer whose weight is packed: every output takes one multiply-add for each input feature."""
    return int(result.numel() * args[0].shape[-1])


def _packed_convolution(args: Arguments, result: Any) -> int:
    return int(result.numel() * prod(args[1].unpack()[0].shape[1:]))


def _grouped(args: Arguments, result: Any) -> int:
    """Products of groups of rows: (rows, k) by (groups, k, n), or where both are flat (m, rows) by (rows, n)."""
    left, right = args[0], args[1]
    return int(left.numel() * right.shape[-1])


def _convolution(args: Arguments, result: Any) -> int:
    """Every output (of a transposed one every input) meets the kernel of its group once, zeros of the padding too."""
    transposed = len(args) > 6 and args[6] is True
    return int((args[0] if transposed else result).numel() * prod(args[1].shape[1:]))


def _plain_convolution(args: Arguments, result: Any) -> int:
    return int(result.numel() * prod(args[1].shape[1:]))


def _convolution_backward(args: Arguments, result: Any) -> int:
    grad, source, weight, transposed, wanted = args[0], args[1], args[2], args[7], args[10]
    once = (source if transposed else grad).numel() * prod(weight.shape[1:])
    return int(once * sum(map(bool, wanted[:2])))


def _attention(query: Tensor, key: Tensor, value: Tensor, of_head_dim: int, of_value_dim: int) -> int:
    """Tensors of (batch, heads, length, dim); products over the head's width and over that of the values."""
    pairs = prod(query.shape[:-1]) * key.shape[-2]
    return pairs * (of_head_dim * query.shape[-1] + of_value_dim * value.shape[-1])


def _attention_forward(args: Arguments, result: Any) -> int:
    return _attention(args[0], args[1], args[2], 1, 1)


def _attention_backward(args: Arguments, result: Any) -> int:
    """The scores anew, the weights' gradient, and those of value, query and key."""
    return _attention(args[1], args[2], args[3], 3, 2)


def flexible_attention(args: Arguments) -> int:
    """FlexAttention: the pairs in those blocks that its block mask keeps, clipped at the edges."""
    query, key, value, mask = args[0], args[1], args[2], args[4]
    rows, columns = mask[-3:-1]
    pairs = 0
    for count, which in (mask[2:4], mask[4:6]):
        if count is None:
            continue
        kept = torch.arange(which.shape[-1], device=which.device) < count[..., None]
        widths = (key.shape[-2] - which * columns).clamp(max=columns) * kept
        starts = torch.arange(which.shape[-2], device=which.device) * rows
        heights = (query.shape[-2] - starts).clamp(max=rows)
        shared = prod(query.shape[:2]) // prod(which.shape[:2])
        pairs += int((widths.sum(-1) * heights).sum()) * shared
    return pairs * int(query.shape[-1] + value.shape[-1])


def _encoder_layer(args: Arguments, result: Any) -> int:
    """PyTorch's fused encoder layer: four weights for each token, and attention."""
    source = args[0]
    tokens = prod(source.shape[:-1])
    weights = sum(args[index].numel() for index in (3, 5, 14, 16))
    return int(tokens * weights + 2 * tokens * source.shape[-2] * args[1])


def _fused_attention_module(args: Arguments, result: Any) -> int:
    query, key, width = args[0], args[1], args[3]
    tokens = prod(query.shape[:-1])
    return int(tokens * (args[5].numel() + args[7].numel()) + 2 * tokens * key.shape[-2] * width)


def _recurrent(args: Arguments, result: Any) -> int:
    """One direction of a layer: the weights of input and state, once for each step of each example."""
    return int(prod(args[0].shape[:-1]) * (args[1].numel() + args[2].numel()))


def _recurrent_stack(args: Arguments, result: Any) -> int:
    return int(prod(args[0].shape[:-1]) * sum(weight.numel() for weight in args[1] if weight.dim() == 2))


def _twice(formula: Formula) -> Formula:
    return lambda args, result: 2 * formula(args, result)


def _transform(args: Arguments, result: Any) -> int:
    """Complex numbers: 5 n log2 n operations for n of them, the count that FFTW's authors use; half for real ones."""
    source = args[0]
    whole = source if source.numel() >= result.numel() else result
    points: int = prod(whole.shape[axis] for axis in args[1])
    real = not (source.is_complex() and result.is_complex())
    of_complex: int = round(whole.numel() * 2.5 * log2(max(points, 1)))
    return of_complex // (2 if real else 1)


def _of(left: int, right: int) -> Formula:
    """A product of two of the arguments."""
    return lambda args, result: _product(args[left], args[right])


def _vector(args: Arguments, result: Any) -> int:
    return int(args[0].numel())


def _named(names: str, formula: Formula, library: str = "aten") -> dict[str, Formula]:
    return {f"{library}::{name}": formula for name in names.split()}


_SPARSE = (torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc)
_FORMULAS: dict[str, Formula] = {
    **_named("mm bmm mv _int_mm", _of(0, 1)),
    **_named("addmm baddbmm addmv addbmm _addmm_activation", _of(1, 2)),
    **_named("dot vdot", _vector),
    **_named("linear mkldnn_linear _weight_int8pack_mm _dyn_quant_matmul_4bit", _rows),
    **_named("_weight_int4pack_mm _weight_int4pack_mm_for_cpu", _rows),
    **_named("linear linear_relu linear_dynamic linear_relu_dynamic linear_dynamic_fp16", _rows, "quantized"),
    **_named("qlinear_pointwise", _rows, "onednn"),
    **_named("conv1d conv2d conv3d conv1d_relu conv2d_relu conv3d_relu", _packed_convolution, "quantized"),
    **_named("_grouped_mm _scaled_grouped_mm", _grouped),
    **_named("convolution _convolution convolution_overrideable", _convolution),
    **_named("mkldnn_convolution cudnn_convolution _slow_conv2d_forward _conv_depthwise2d", _plain_convolution),
    **_named("convolution_backward convolution_backward_overrideable", _convolution_backward),
    **_named("_scaled_dot_product_flash_attention _scaled_dot_product_efficient_attention", _attention_forward),
    **_named("_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_cudnn_attention", _attention_forward),
    **_named("_scaled_dot_product_fused_attention_overrideable", _attention_forward),
    **_named("_scaled_dot_product_flash_attention_backward", _attention_backward),
    **_named("_scaled_dot_product_efficient_attention_backward", _attention_backward),
    **_named("_scaled_dot_product_flash_attention_for_cpu_backward", _attention_backward),
    **_named("_scaled_dot_product_cudnn_attention_backward", _attention_backward),
    **_named("_scaled_dot_product_fused_attention_overrideable_backward", _attention_backward),
    **_named("_transformer_encoder_layer_fwd", _encoder_layer),
    **_named("_native_multi_head_attention", _fused_attention_module),
    **_named("mkldnn_rnn_layer", _recurrent),
    **_named("mkldnn_rnn_layer_backward", _twice(_recurrent)),
    **_named("_cudnn_rnn", _recurrent_stack),
    **_named("_cudnn_rnn_backward", _twice(_recurrent_stack)),
    **_named("_fft_c2c _fft_r2c _fft_c2r", _transform),
}
