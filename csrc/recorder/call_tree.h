// The places that layers were called from. A place ("site") is a layer together with the site of the call around it, so
// the tree grows with the number of different places only, whatever the number of calls. Its numbers are never reused:
// times that become known later can be added to a site whose stamps are long gone.
#pragma once

#include <cstdint>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace pyprof {

inline constexpr uint32_t kNoSite = 0xFFFFFFFF;

// The roots, which are no layers: what runs while no step is marked, what runs in a marked step on the step's own
// thread, and what runs on another thread meanwhile. They are numbered as the contexts that they stand for.
inline constexpr uint32_t kUnmarked = 0, kInStep = 1, kBeside = 2, kContexts = 3;
// The sum of the steps themselves, as a site so that it is kept like all others.
inline constexpr uint32_t kSteps = 3;

struct Site {
  uint32_t parent, layer, phase;
};
static_assert(sizeof(Site) == 12);

class CallTree {
 public:
  CallTree();

  // The site of a layer that is called from `parent`; kNoSite when there is no room. A layer that is called by itself,
  // directly or not, stays at the site where that began: its time is counted once, and recursion cannot grow the tree.
  uint32_t child(uint32_t parent, uint32_t layer, uint32_t phase) noexcept;
  std::vector<Site> sites() const;

  struct Numbered {
    uint32_t number;
    Site site;
  };
  // A site and those around it, outermost first, up to the one inside of `above`; throws std::bad_alloc.
  std::vector<Numbered> path(uint32_t site, uint32_t above = kNoSite) const;

 private:
  static constexpr size_t kMostSites = size_t{1} << 18;

  mutable std::mutex mutex_;
  std::vector<Site> sites_;
  std::unordered_map<uint64_t, uint32_t> children_;
};

inline uint64_t site_key(uint32_t parent, uint32_t layer, uint32_t phase) noexcept {
  return (uint64_t{parent} << 33) | (uint64_t{layer} << 1) | phase;
}

// What one thread knows of the tree, so that a call finds its site without a lock.
class SiteCache {
 public:
  SiteCache() : entries_(256, Entry{kEmpty, kNoSite}), mask_(entries_.size() - 1) {}

  uint32_t find(uint64_t key) const noexcept {
    for (size_t slot = first(key);; slot = (slot + 1) & mask_) {
      const Entry& entry = entries_[slot];
      if (entry.key == key || entry.key == kEmpty) return entry.site;
    }
  }
  void add(uint64_t key, uint32_t site);  // throws std::bad_alloc

 private:
  struct Entry {
    uint64_t key;
    uint32_t site;
  };
  static constexpr uint64_t kEmpty = ~uint64_t{0};

  size_t first(uint64_t key) const noexcept { return (key * 0x9E3779B97F4A7C15u >> 32) & mask_; }

  std::vector<Entry> entries_;  // open addressing, at most half full; the size is a power of two
  size_t mask_, used_ = 0;
};

}  // namespace pyprof
