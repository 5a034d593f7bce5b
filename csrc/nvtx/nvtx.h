// Ranges of the NVTX domain `pyprof`, which Nsight Systems and other tools read. NVTX is header only: nothing is linked
// and no CUDA is needed, and a tool attaches when the first range is opened (NVTX_INJECTION64_PATH). Where its headers
// were not found, pyprof is built without.
#pragma once

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "recorder/annotations.h"

#if __has_include(<nvtx3/nvToolsExt.h>)
#define PYPROF_HAS_NVTX 1
#include <nvtx3/nvToolsExt.h>
#else
#define PYPROF_HAS_NVTX 0
#endif

namespace pyprof::nvtx {

inline constexpr bool is_built_in = PYPROF_HAS_NVTX;

#if PYPROF_HAS_NVTX
using Name = nvtxStringHandle_t;

// The domain with its registered names, once for the process: a tool keeps a registered string for ever.
class Domain {
 public:
  static Domain& get() {
    static Domain domain;
    return domain;
  }

  // Without a tool there is no handle, and every range would be for nobody: none attaches later.
  bool is_watched() const noexcept { return handle_ != nullptr; }

  Name name(const std::string& text) {
    if (!handle_) return nullptr;
    const std::lock_guard lock(mutex_);
    const auto [found, is_new] = names_.try_emplace(text, nullptr);
    if (is_new) found->second = nvtxDomainRegisterStringA(handle_, text.c_str());
    return found->second;
  }

  void push(Name name, Category category) noexcept {
    nvtxEventAttributes_t attributes = described(name, category);
    nvtxDomainRangePushEx(handle_, &attributes);
  }
  void push(Name name, Category category, uint32_t payload) noexcept {
    nvtxEventAttributes_t attributes = described(name, category);
    attributes.payloadType = NVTX_PAYLOAD_TYPE_UNSIGNED_INT64;
    attributes.payload.ullValue = payload;
    nvtxDomainRangePushEx(handle_, &attributes);
  }
  void pop() noexcept { nvtxDomainRangePop(handle_); }

 private:
  struct Look {
    const char* name;
    uint32_t colour;  // alpha, red, green, blue
  };
  static constexpr Look kLooks[] = {{"forward", 0xFF4E79A7},   {"backward", 0xFFE15759}, {"recompute", 0xFFF28E2B},
                                    {"optimizer", 0xFF59A14F}, {"step", 0xFF9C9C9C},     {"case", 0xFF5F5F5F}};
  static constexpr uint32_t number(Category category) { return static_cast<uint32_t>(category); }

  Domain() : handle_(nvtxDomainCreateA("pyprof")) {
    if (!handle_) return;
    uint32_t category = 0;
    for (const Look& look : kLooks) nvtxDomainNameCategoryA(handle_, ++category, look.name);
  }

  static nvtxEventAttributes_t described(Name name, Category category) noexcept {
    nvtxEventAttributes_t attributes = {};
    attributes.version = NVTX_VERSION;
    attributes.size = NVTX_EVENT_ATTRIB_STRUCT_SIZE;
    attributes.category = number(category);
    attributes.colorType = NVTX_COLOR_ARGB;
    attributes.color = kLooks[number(category) - 1].colour;
    attributes.messageType = NVTX_MESSAGE_TYPE_REGISTERED;
    attributes.message.registered = name;
    return attributes;
  }

  const nvtxDomainHandle_t handle_;
  std::mutex mutex_;
  std::unordered_map<std::string, Name> names_;
};
#else
using Name = const void*;

class Domain {
 public:
  static Domain& get() {
    static Domain domain;
    return domain;
  }
  bool is_watched() const noexcept { return false; }
  Name name(const std::string&) { return nullptr; }
  void push(Name, Category) noexcept {}
  void push(Name, Category, uint32_t) noexcept {}
  void pop() noexcept {}
};
#endif

// The names of one module's layers. `modules[i]` is the number by which the recorder knows the module at `paths[i]`;
// the outermost one, whose path is empty, is called `root`. A range's payload is the index of its path.
class LayerRanges : public Annotations {
 public:
  LayerRanges(std::vector<std::string> paths, const std::vector<uint32_t>& modules, const std::string& root)
      : paths_(std::move(paths)), step_(Domain::get().name("step")) {
    for (uint32_t place = 0; place < paths_.size(); ++place) {
      if (modules[place] >= held_.size()) held_.resize(modules[place] + 1);
      held_[modules[place]].push_back(place);
      names_.push_back(Domain::get().name(paths_[place].empty() ? root : paths_[place]));
    }
  }

  // As pyprof/layers/attribution.py gives places to the sites of a profile.
  uint32_t place(uint32_t caller, uint32_t layer) const noexcept override {
    if (layer >= held_.size() || held_[layer].empty()) return kNoPlace;
    std::string_view around = caller == kNoPlace ? std::string_view{} : paths_[caller];
    for (; !around.empty(); around = parent(around)) {
      const uint32_t inside = shallowest(held_[layer], around);
      if (inside != kNoPlace) return inside;
    }
    return shallowest(held_[layer], around);
  }

  void push(uint32_t place, Category category) noexcept override {
    if (place == kNoPlace) {
      Domain::get().push(step_, category);
    } else {
      Domain::get().push(names_[place], category, place);
    }
  }
  void pop() noexcept override { Domain::get().pop(); }

 private:
  static std::string_view parent(std::string_view path) noexcept {
    const size_t dot = path.rfind('.');
    return dot == std::string_view::npos ? std::string_view{} : path.substr(0, dot);
  }

  // Of the places within the path `around`, the one with the fewest dots; all are within the empty path.
  uint32_t shallowest(const std::vector<uint32_t>& places, std::string_view around) const noexcept {
    uint32_t best = kNoPlace;
    long fewest = 0;
    for (const uint32_t place : places) {
      const std::string_view path = paths_[place];
      if (!around.empty() && !(path.size() > around.size() && path.starts_with(around) && path[around.size()] == '.'))
        continue;
      const long dots = std::count(path.begin(), path.end(), '.');
      if (best == kNoPlace || dots < fewest) best = place, fewest = dots;
    }
    return best;
  }

  std::vector<std::string> paths_;
  std::vector<std::vector<uint32_t>> held_;
  std::vector<Name> names_;
  Name step_;
};

}  // namespace pyprof::nvtx
