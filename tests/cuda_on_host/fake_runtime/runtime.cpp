#include <cuda_runtime_api.h>

struct FakeStream {
  int64_t busy_until = 0;  // nanoseconds on the device's clock
};
struct FakeEvent {
  int64_t at = -1;  // when the stream reaches it; -1 before it was recorded
  bool waited_for = false;
};

namespace {

FakeStream stream;
int64_t live = 0, creatable = -1;
bool broken = false, invalid = false;
int capturing = 0;
cudaError_t last = cudaSuccess;

}  // namespace

namespace fake_cuda {

FakeStream* current_stream() { return &stream; }
void launch(int64_t nanoseconds) { stream.busy_until += nanoseconds; }
void refuse_events_after(int64_t count) { creatable = count; }
void break_device() { broken = true; }
void repair() { broken = false, creatable = -1; }
int64_t live_events() { return live; }
bool capture(int how) {
  const bool valid = !invalid && last == cudaSuccess;
  capturing = how;
  invalid = false;
  return valid;
}

}  // namespace fake_cuda

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  if (broken) return cudaErrorLaunchFailure;
  if (creatable == 0) return cudaErrorMemoryAllocation;
  if (creatable > 0) --creatable;
  *event = new FakeEvent;
  ++live;
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  --live;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t on) {
  if (broken) return cudaErrorLaunchFailure;
  if (capturing) {
    invalid = true;
    return last = cudaErrorStreamCaptureImplicit;
  }
  event->at = on->busy_until;
  event->waited_for = false;
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (broken) return cudaErrorLaunchFailure;
  event->waited_for = true;
  return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  if (broken) return cudaErrorLaunchFailure;
  if (!begin->waited_for || !end->waited_for) return cudaErrorNotReady;  // read before it has completed
  *milliseconds = static_cast<float>(end->at - begin->at) * 1e-6f;
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t, cudaStreamCaptureStatus* status) {
  if (capturing == 2) return last = cudaErrorStreamCaptureImplicit;
  *status = capturing ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}

cudaError_t cudaGetLastError() {
  const cudaError_t error = last;
  last = cudaSuccess;
  return error;
}

const char* cudaGetErrorString(cudaError_t status) {
  switch (status) {
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorNotReady:
      return "device not ready";
    case cudaErrorLaunchFailure:
      return "unspecified launch failure";
    default:
      return "no error";
  }
}

// What a test may do to the device, by ctypes.
#define EXPORT extern "C" __attribute__((visibility("default")))
EXPORT void fake_launch(int64_t nanoseconds) { fake_cuda::launch(nanoseconds); }
EXPORT void fake_refuse_events_after(int64_t count) { fake_cuda::refuse_events_after(count); }
EXPORT void fake_break() { fake_cuda::break_device(); }
EXPORT void fake_repair() { fake_cuda::repair(); }
EXPORT int fake_capture(int how) { return fake_cuda::capture(how) ? 1 : 0; }
EXPORT int64_t fake_live_events() { return fake_cuda::live_events(); }
