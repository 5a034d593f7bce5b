#include "call_tree.h"

#include <algorithm>
#include <new>

#include "span.h"

namespace pyprof {

CallTree::CallTree() : sites_(kSteps + 1, Site{kNoSite, kStep, kForward}) {}

uint32_t CallTree::child(uint32_t parent, uint32_t layer, uint32_t phase) noexcept {
  const std::lock_guard lock(mutex_);
  for (uint32_t site = parent; site > kSteps && sites_[site].phase == phase; site = sites_[site].parent) {
    if (sites_[site].layer == layer) return site;
  }
  try {
    const auto [found, is_new] = children_.try_emplace(site_key(parent, layer, phase), sites_.size());
    if (!is_new) return found->second;
    if (sites_.size() < kMostSites) {
      sites_.push_back({parent, layer, phase});
      return found->second;
    }
    children_.erase(found);
  } catch (const std::bad_alloc&) {
    children_.erase(site_key(parent, layer, phase));
  }
  return kNoSite;
}

std::vector<Site> CallTree::sites() const {
  const std::lock_guard lock(mutex_);
  return sites_;
}

std::vector<CallTree::Numbered> CallTree::path(uint32_t site, uint32_t above) const {
  std::vector<Numbered> path;
  const std::lock_guard lock(mutex_);
  for (; site > kSteps && site != above; site = sites_[site].parent) path.push_back({site, sites_[site]});
  std::reverse(path.begin(), path.end());
  return path;
}

void SiteCache::add(uint64_t key, uint32_t site) {
  if (2 * ++used_ > entries_.size()) {
    std::vector<Entry> larger(2 * entries_.size(), Entry{kEmpty, kNoSite});
    larger.swap(entries_);
    mask_ = entries_.size() - 1;
    used_ = 1;
    for (const Entry& entry : larger) {
      if (entry.key != kEmpty) add(entry.key, entry.site);
    }
  }
  size_t slot = first(key);
  while (entries_[slot].key != kEmpty) slot = (slot + 1) & mask_;
  entries_[slot] = {key, site};
}

}  // namespace pyprof
