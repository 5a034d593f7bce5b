// A tool for NVTX that writes every call down, a line each: it attaches through NVTX_INJECTION64_PATH, as Nsight does.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>

#define NVTX_NO_IMPL
#include <nvtx3/nvToolsExt.h>

namespace {

std::mutex mutex;
FILE* file = nullptr;

template <typename... Values>
void write(const char* format, Values... values) {
  const std::lock_guard lock(mutex);
  std::fprintf(file, format, values...);
  std::fflush(file);
}

// A handle is a string of our own, which lives as long as the process.
template <typename Handle>
Handle handle(const char* text) {
  return reinterpret_cast<Handle>(new std::string(text));
}
template <typename Handle>
const char* text(Handle handle) {
  return handle ? reinterpret_cast<const std::string*>(handle)->c_str() : "";
}

nvtxDomainHandle_t create(const char* name) {
  write("domain\t%d\t%s\n", gettid(), name);
  return handle<nvtxDomainHandle_t>(name);
}

void name_category(nvtxDomainHandle_t domain, uint32_t category, const char* name) {
  write("category\t%d\t%s\t%u\t%s\n", gettid(), text(domain), category, name);
}

nvtxStringHandle_t register_string(nvtxDomainHandle_t domain, const char* name) {
  write("string\t%d\t%s\t%s\n", gettid(), text(domain), name);
  return handle<nvtxStringHandle_t>(name);
}

int push(nvtxDomainHandle_t domain, const nvtxEventAttributes_t* event) {
  const bool registered = event->messageType == NVTX_MESSAGE_TYPE_REGISTERED;
  const long long payload =
      event->payloadType == NVTX_PAYLOAD_TYPE_UNSIGNED_INT64 ? static_cast<long long>(event->payload.ullValue) : -1;
  write("push\t%d\t%s\t%u\t%lld\t%s\n", gettid(), text(domain), event->category, payload,
        registered ? text(event->message.registered) : "(a name that is not registered)");
  return 0;
}

int pop(nvtxDomainHandle_t domain) {
  write("pop\t%d\t%s\n", gettid(), text(domain));
  return 0;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int InitializeInjectionNvtx2(NvtxGetExportTableFunc_t get_table) {
  file = std::fopen(std::getenv("NVTX_TOOL_FILE"), "a");
  const auto* callbacks = static_cast<const NvtxExportTableCallbacks*>(get_table(NVTX_ETID_CALLBACKS));
  NvtxFunctionTable table = nullptr;
  unsigned size = 0;
  if (!file || !callbacks || !callbacks->GetModuleFunctionTable(NVTX_CB_MODULE_CORE2, &table, &size)) return 0;
  *table[NVTX_CBID_CORE2_DomainCreateA] = reinterpret_cast<NvtxFunctionPointer>(create);
  *table[NVTX_CBID_CORE2_DomainNameCategoryA] = reinterpret_cast<NvtxFunctionPointer>(name_category);
  *table[NVTX_CBID_CORE2_DomainRegisterStringA] = reinterpret_cast<NvtxFunctionPointer>(register_string);
  *table[NVTX_CBID_CORE2_DomainRangePushEx] = reinterpret_cast<NvtxFunctionPointer>(push);
  *table[NVTX_CBID_CORE2_DomainRangePop] = reinterpret_cast<NvtxFunctionPointer>(pop);
  return 1;
}
