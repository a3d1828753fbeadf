// Steps that are the same again and again: recorded once, and from then on queued as one piece each.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "engine/allocator.h"
#include "engine/device.h"

namespace omniconv {

/// Whether StepGraphs record, or do every step anew. At first they do in CUDA builds; on the CPU nothing is gained by
/// it, and the work of oneDNN cannot be recorded. Not for threads.
void set_step_graphs(bool recorded);
bool step_graphs();

/// The recorded forms of a step, one for each shape of it.
///
/// A step must be a function of device memory alone: it queues the same work whenever it is called, on memory that it
/// allocates and frees within or that lives longer than this object; whatever changes from step to step, it reads on the
/// device. On the host it changes nothing that is not the same after each call.
class StepGraphs {
 public:
  /// All steps, recorded or not, are done in `memory`, which others may use between them.
  explicit StepGraphs(std::shared_ptr<MemoryPool> memory = std::make_shared<MemoryPool>())
      : memory_(std::move(memory)) {}

  /// Queues one step, once all but the last one before it are done: a host that ran further ahead of the device would hear
  /// of a signal late. The first of its kind is done as it is, while libraries choose their algorithms; the second is
  /// recorded; and all later ones repeat the record. A kind is what the caller says (the batch's shape, usually) and which
  /// operations run fused (engine/fusions.h). @throws Error as `step` does.
  void run(std::int64_t kind, const std::function<void()>& step);
  /// Does a step as it is, without waiting for others and without a record.
  void run_unrecorded(const std::function<void()>& step);

  /// Records there are.
  std::int64_t recorded() const;
  /// Why steps are done anew each time although step_graphs(): what could not be recorded. Empty where all is well.
  const std::string& refusal() const { return refusal_; }
  const std::shared_ptr<MemoryPool>& memory() const { return memory_; }

 private:
  void queue(std::int64_t kind, const std::function<void()>& step);

  std::shared_ptr<MemoryPool> memory_;
  std::map<std::pair<std::int64_t, unsigned>, std::optional<RecordedWork>> forms_;  // by kind and fusions
  std::string refusal_;
  Event ends_[2];  // of the steps before, in turns
  std::size_t turn_ = 0;
};

}  // namespace omniconv
