// A CUDA runtime without a GPU: streams are queues on a clock of their own, faults can be planted.
#pragma once

#include <cstdint>

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorMemoryAllocation = 2,
  cudaErrorNotReady = 600,
  cudaErrorLaunchFailure = 719,
  cudaErrorStreamCaptureImplicit = 906
};
enum cudaStreamCaptureStatus { cudaStreamCaptureStatusNone = 0, cudaStreamCaptureStatusActive = 1 };
struct FakeEvent;
struct FakeStream;
using cudaEvent_t = FakeEvent*;
using cudaStream_t = FakeStream*;
inline constexpr unsigned cudaEventDefault = 0;

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status);
cudaError_t cudaGetLastError();
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end);
const char* cudaGetErrorString(cudaError_t status);

namespace fake_cuda {

FakeStream* current_stream();
void launch(int64_t nanoseconds);         // queue work on the current stream: returns at once, as a kernel launch does
void refuse_events_after(int64_t count);  // making an event fails with out of memory from then on, -1 never
void break_device();                      // every call fails from now on: a sticky error
void repair();                            // as new
int64_t live_events();
// Capturing a graph: 1 on the current stream, where an event that is recorded makes the graph invalid, 2 beside it,
// where asking is an error. Returns whether the graph that ends with it is valid.
bool capture(int how);

}  // namespace fake_cuda
