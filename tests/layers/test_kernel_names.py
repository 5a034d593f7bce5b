from __future__ import annotations

import pytest

from pyprof.layers.kernel_names import short_name


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("nvjet_tst_128x64_64x9_2x1_v_bz_bias_TNN", "nvjet_tst_128x64_64x9_2x1_v_bz_bias_TNN"),
        (
            "void at::native::vectorized_elementwise_kernel<4, at::native::GeluCUDAKernelImpl(at::TensorIteratorBase&, "
            "at::native::GeluType)::{lambda()#2}::operator()() const::{lambda()#1}, std::array<char*, 2ul> >(int)",
            "vectorized_elementwise_kernel<GeluCUDAKernelImpl>",
        ),
        (
            "void (anonymous namespace)::elementwise_kernel_with_index<int, at::native::arange_cuda_out(x)>(int)",
            "elementwise_kernel_with_index<arange_cuda_out>",
        ),
        (
            "void cutlass::Kernel2<cutlass_80_tensorop_bf16_s16816gemm_relu_bf16_256x128_32x3_tn_align8>(Params)",
            "Kernel2<cutlass_80_tensorop_bf16_s16816gemm_relu_bf16_256x128_32x3_tn_align8>",
        ),
        ("void pytorch_flash::flash_fwd_kernel<Flash_fwd_kernel_traits<64, 128>, false>(Params)", "flash_fwd_kernel"),
        ("void space::Holder<int>::run<float>(int)", "run"),
        (
            "void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float, at::native::MeanOps<float> > >(R)",
            "reduce_kernel<MeanOps>",
        ),
        ("triton_poi_fused_gelu_3", "triton_poi_fused_gelu_3"),
        ("_Z3foov", "_Z3foov"),
        ("", ""),
        ("(((", "((("),
        ("a<b", "a"),
    ],
)
def test_short_names_keep_what_tells_kernels_apart(name: str, short: str) -> None:
    assert short_name(name) == short
