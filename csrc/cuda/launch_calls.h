// The calls of the driver that give a device work, by CUPTI's numbers: each has a twin for per-thread default streams.
#pragma once

#include <cupti.h>

namespace pyprof {

#define PYPROF_WITH_TWIN(call) CUPTI_DRIVER_TRACE_CBID_##call, CUPTI_DRIVER_TRACE_CBID_##call##_ptsz
#define PYPROF_WITH_BLOCKING_TWIN(call) CUPTI_DRIVER_TRACE_CBID_##call, CUPTI_DRIVER_TRACE_CBID_##call##_ptds

inline constexpr CUpti_CallbackId kLaunchCalls[] = {
    PYPROF_WITH_TWIN(cuLaunchKernel),
    PYPROF_WITH_TWIN(cuLaunchKernelEx),
    PYPROF_WITH_TWIN(cuLaunchCooperativeKernel),
    CUPTI_DRIVER_TRACE_CBID_cuLaunchCooperativeKernelMultiDevice,
    CUPTI_DRIVER_TRACE_CBID_cuLaunch,
    CUPTI_DRIVER_TRACE_CBID_cuLaunchGrid,
    CUPTI_DRIVER_TRACE_CBID_cuLaunchGridAsync,
    PYPROF_WITH_TWIN(cuGraphLaunch),
    PYPROF_WITH_BLOCKING_TWIN(cuMemcpy),
    PYPROF_WITH_BLOCKING_TWIN(cuMemcpyHtoD_v2),
    PYPROF_WITH_BLOCKING_TWIN(cuMemcpyDtoH_v2),
    PYPROF_WITH_BLOCKING_TWIN(cuMemcpyDtoD_v2),
    PYPROF_WITH_BLOCKING_TWIN(cuMemcpyDtoA_v2),
    PYPROF_WITH_BLOCKING_TWIN(cuMemcpyAtoD_v2),
    PYPROF_WITH_BLOCKING_TWIN(cuMemcpyHtoA_v2),
    PYPROF_WITH_BLOCKING_TWIN(cuMemcpyAtoH_v2),
    PYPROF_WITH_BLOCKING_TWIN(cuMemcpyAtoA_v2),
    PYPROF_WITH_BLOCKING_TWIN(cuMemcpy2D_v2),
    PYPROF_WITH_BLOCKING_TWIN(cuMemcpy2DUnaligned_v2),
    PYPROF_WITH_BLOCKING_TWIN(cuMemcpy3D_v2),
    PYPROF_WITH_BLOCKING_TWIN(cuMemcpyPeer),
    PYPROF_WITH_BLOCKING_TWIN(cuMemcpy3DPeer),
    PYPROF_WITH_TWIN(cuMemcpyAsync),
    PYPROF_WITH_TWIN(cuMemcpyHtoDAsync_v2),
    PYPROF_WITH_TWIN(cuMemcpyDtoHAsync_v2),
    PYPROF_WITH_TWIN(cuMemcpyDtoDAsync_v2),
    PYPROF_WITH_TWIN(cuMemcpyHtoAAsync_v2),
    PYPROF_WITH_TWIN(cuMemcpyAtoHAsync_v2),
    PYPROF_WITH_TWIN(cuMemcpy2DAsync_v2),
    PYPROF_WITH_TWIN(cuMemcpy3DAsync_v2),
    PYPROF_WITH_TWIN(cuMemcpyPeerAsync),
    PYPROF_WITH_TWIN(cuMemcpy3DPeerAsync),
    PYPROF_WITH_BLOCKING_TWIN(cuMemsetD8_v2),
    PYPROF_WITH_BLOCKING_TWIN(cuMemsetD16_v2),
    PYPROF_WITH_BLOCKING_TWIN(cuMemsetD32_v2),
    PYPROF_WITH_BLOCKING_TWIN(cuMemsetD2D8_v2),
    PYPROF_WITH_BLOCKING_TWIN(cuMemsetD2D16_v2),
    PYPROF_WITH_BLOCKING_TWIN(cuMemsetD2D32_v2),
    PYPROF_WITH_TWIN(cuMemsetD8Async),
    PYPROF_WITH_TWIN(cuMemsetD16Async),
    PYPROF_WITH_TWIN(cuMemsetD32Async),
    PYPROF_WITH_TWIN(cuMemsetD2D8Async),
    PYPROF_WITH_TWIN(cuMemsetD2D16Async),
    PYPROF_WITH_TWIN(cuMemsetD2D32Async),
    // cuMemcpyBatchAsync, cuMemcpy3DBatchAsync and their second versions, by number since the headers of CUDA 12 do not
    // all have the names. A library that doesn't know a number refuses it.
    776,
    777,
    778,
    779,
    796,
    797,
    798,
    799,
};

#undef PYPROF_WITH_TWIN
#undef PYPROF_WITH_BLOCKING_TWIN

}  // namespace pyprof
