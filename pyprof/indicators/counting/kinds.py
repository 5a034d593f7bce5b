"""What sort of work an operator without a product does: arithmetic element by element, moving, or none."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import torch

from pyprof.indicators.counting.formulas import has_formula

Sort = Literal["product", "arithmetic", "move", "nothing"]


def names(text: str) -> frozenset[str]:
    """The names of operators in a text."""
    return frozenset(text.split())


# A view, a shape, or memory that nobody has written yet.
_NOTHING = names(
    """
    _unsafe_view _reshape_alias alias detach lift_fresh lift empty empty_like empty_strided new_empty new_empty_strided
    empty_permuted set_ resize_ resize_as_ _resize_output_ is_same_size sym_size sym_stride sym_numel
    sym_storage_offset size stride dim numel is_contiguous device layout result_type can_cast is_pinned
    _has_compatible_shallow_copy_type record_stream _assert_async _assert_scalar _assert_tensor_metadata
    _local_scalar_dense equal is_nonzero _version _sparse_coo_tensor_with_dims_and_tensors _nnz values indices
    crow_indices col_indices ccol_indices row_indices _values _indices is_coalesced _unwrap_dead_wrappers
    scalar_tensor sparse_dim dense_dim _linalg_check_errors
    """
)
# Copies, fills, selections and random numbers: elements are moved or made, none is computed from others.
_MOVES = names(
    """
    copy_ copy _to_copy clone contiguous cat stack split_with_sizes_copy unbind_copy narrow_copy expand_copy slice_copy
    select_copy permute_copy t_copy transpose_copy view_copy as_strided_copy unfold_copy
    index index_select gather take embedding index_put index_put_ _index_put_impl_ _unsafe_index _unsafe_index_put
    index_fill index_fill_ index_copy index_copy_ scatter scatter_ select_scatter slice_scatter as_strided_scatter
    diagonal_scatter masked_fill masked_fill_ masked_select masked_scatter masked_scatter_ where
    slice_backward select_backward as_strided_ diagonal_backward unfold_backward index_select_backward
    fill fill_ zero zero_ zeros ones full arange linspace eye zeros_like ones_like full_like new_zeros new_ones new_full
    rand randn randint rand_like randn_like randint_like randperm bernoulli bernoulli_ normal_ uniform_ exponential_
    random_ multinomial constant_pad_nd reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d
    reflection_pad1d_backward reflection_pad2d_backward replication_pad1d_backward replication_pad2d_backward
    roll flip repeat repeat_interleave tile tril triu tril_ triu_ tril_indices triu_indices diag_embed diagonal_copy
    im2col unfold one_hot nonzero nonzero_static sort topk argsort kthvalue unique _unique2 unique_dim
    unique_consecutive searchsorted bucketize bincount histc pixel_shuffle pixel_unshuffle channel_shuffle
    _pack_padded_sequence _pad_packed_sequence _to_dense to_dense _to_sparse _to_sparse_csr to_mkldnn _mkldnn_reorder
    isin _amp_update_scale_ lift_fresh_copy _pin_memory embedding_renorm_ trace_backward
    _foreach_copy _foreach_copy_ _foreach_zero _foreach_zero_ split_copy
    """
)
# Reductions, normalisations and their kin, which PyTorch tags as nothing: work in proportion to the elements.
_ARITHMETIC = names(
    """
    sum mean prod var std var_mean std_mean amax amin aminmax max min argmax argmin median nanmedian mode all any norm
    linalg_vector_norm logsumexp _logcumsumexp nansum cumsum cumprod cummax cummin _cummax_helper _cummin_helper
    logcumsumexp count_nonzero dist sum_to_size _softmax _log_softmax _softmax_backward_data _log_softmax_backward_data
    _safe_softmax _masked_softmax _masked_softmax_backward native_layer_norm native_layer_norm_backward
    native_group_norm native_group_norm_backward native_batch_norm native_batch_norm_backward _native_batch_norm_legit
    _native_batch_norm_legit_functional _native_batch_norm_legit_no_training _batch_norm_with_update
    _batch_norm_no_update batch_norm_backward batch_norm_stats batch_norm_elemt cudnn_batch_norm
    cudnn_batch_norm_backward _fused_rms_norm _fused_rms_norm_backward rms_norm _weight_norm_interface
    _weight_norm_interface_backward native_dropout native_dropout_backward _fused_dropout _masked_scale
    nll_loss_forward nll_loss_backward nll_loss2d_forward nll_loss2d_backward mse_loss_backward smooth_l1_loss_backward
    huber_loss_backward binary_cross_entropy binary_cross_entropy_backward binary_cross_entropy_with_logits
    _ctc_loss _ctc_loss_backward _cdist_forward _cdist_backward _pdist_forward _pdist_backward
    embedding_dense_backward _embedding_bag _embedding_bag_forward_only _embedding_bag_dense_backward
    index_add index_add_ scatter_add scatter_add_ scatter_reduce scatter_reduce_ index_reduce index_reduce_
    _scatter_reduce put_ col2im segment_reduce _segment_reduce_backward
    max_pool2d_with_indices max_pool2d_with_indices_backward max_pool3d_with_indices max_pool3d_with_indices_backward
    avg_pool1d avg_pool2d avg_pool2d_backward avg_pool3d avg_pool3d_backward _adaptive_avg_pool2d
    _adaptive_avg_pool2d_backward _adaptive_avg_pool3d _adaptive_avg_pool3d_backward adaptive_max_pool2d
    adaptive_max_pool2d_backward mkldnn_max_pool2d upsample_nearest1d upsample_nearest2d upsample_nearest3d
    upsample_nearest1d_backward upsample_nearest2d_backward upsample_nearest3d_backward upsample_linear1d
    upsample_linear1d_backward upsample_bilinear2d upsample_bilinear2d_backward _upsample_bilinear2d_aa
    _upsample_bilinear2d_aa_backward upsample_bicubic2d upsample_bicubic2d_backward _upsample_bicubic2d_aa
    _upsample_bicubic2d_aa_backward upsample_trilinear3d grid_sampler_2d grid_sampler_2d_backward
    glu glu_backward prelu _prelu_kernel _prelu_kernel_backward rrelu_with_noise rrelu_with_noise_backward
    gelu_backward silu_backward mish_backward elu_backward softplus_backward hardswish_backward hardtanh_backward
    hardsigmoid_backward leaky_relu_backward log_sigmoid_forward log_sigmoid_backward softshrink_backward
    threshold_backward tanh_backward sigmoid_backward logit_backward
    _thnn_fused_lstm_cell _thnn_fused_lstm_cell_backward _thnn_fused_gru_cell _thnn_fused_gru_cell_backward
    trace cross linalg_cross fft_fftshift renorm addr outer _amp_foreach_non_finite_check_and_unscale_
    _fused_adam_ _fused_adamw_ _fused_sgd_ _fused_adagrad_ lerp lerp_ addcmul addcmul_ addcdiv addcdiv_ sqrt sqrt_
    nan_to_num nan_to_num_ view_as_real_copy complex polar _conj_physical conj_physical resolve_conj quantize_per_tensor
    quantize_per_channel dequantize choose_qparams fake_quantize_per_tensor_affine sum_backward log_normal_
    squeeze_multiple renorm_ repeat_interleave_backward _addmm_activation_backward chalf
    """
)


@lru_cache(maxsize=4096)
def sort_of(operator: Any) -> Sort | None:
    """What an operator does, None where that is not known: its calls are listed, and its arithmetic is not counted."""
    if has_formula(operator):
        return "product"
    library, _, name = operator._schema.name.partition("::")
    if library not in ("aten", "prim", "prims", "quantized"):
        return None
    if operator.is_view or name in _NOTHING:
        return "nothing"
    if name in _MOVES:
        return "move"
    if name in _ARITHMETIC or torch.Tag.pointwise in operator.tags or name.startswith("_foreach_"):
        return "arithmetic"
    # The form that writes into its first argument does what the other one does.
    return _sort_of_the_other(operator, name)


def _sort_of_the_other(operator: Any, name: str) -> Sort | None:
    if not name.endswith("_") or name.endswith("__"):
        return None
    if name[:-1] in _MOVES:
        return "move"
    return "arithmetic" if name[:-1] in _ARITHMETIC else None
