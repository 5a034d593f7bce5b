#include "work_log.h"

#include "session.h"

namespace pyprof {

WorkLog::WorkLog(std::shared_ptr<Places> places, NanosecondClock clock, Capacity capacity, const std::string& library)
    : api_(CuptiApi::open(library)),
      places_(std::move(places)),
      clock_(clock),
      operations_(capacity.operations),
      launches_(capacity.launches),
      nodes_(capacity.nodes) {}

WorkLog::~WorkLog() { stop(); }

void WorkLog::start() {
  const std::lock_guard lock(mutex_);
  if (listening_) return;
  Session::of(api_).add(*this);
  listening_ = true;
  if (!has_begun_) Session::of(api_).hold();
  has_begun_ = true;
}

void WorkLog::pause() {
  const std::lock_guard lock(mutex_);
  if (!listening_) return;
  Session::of(api_).remove(*this);
  listening_ = false;
}

void WorkLog::stop() {
  pause();
  const std::lock_guard lock(mutex_);
  if (has_begun_) Session::of(api_).release();
  has_begun_ = false;
}

WorkLog::Drained WorkLog::drain() {
  const std::lock_guard lock(mutex_);
  Session& session = Session::of(api_);
  if (listening_) session.flush();
  Drained all;
  operations_.drain([&](const Operation& operation) { all.operations.push_back(operation); });
  launches_.drain([&](const Launch& launch) { all.launches.push_back(launch); });
  nodes_.drain([&](const GraphNode& node) { all.nodes.push_back(node); });
  all.names = session.names();
  all.lost = operations_.take_lost() + lost_.exchange(0, std::memory_order_relaxed);
  all.lost_launches = launches_.take_lost();
  all.lost_nodes = nodes_.take_lost();
  return all;
}

}  // namespace pyprof
