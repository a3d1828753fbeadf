#include "engine/step_graph.h"

#include <algorithm>

#include "engine/fusions.h"
#include "kernels/error.h"

namespace omniconv {
namespace {

bool recorded = device_kind() == "cuda";

/// A bit for each fusion that runs.
unsigned fusions_now() {
  unsigned bits = 0;
  for (const Fusion fusion : all_fusions) bits = 2 * bits + (fusion_enabled(fusion) ? 1 : 0);
  return bits;
}

}  // namespace

void set_step_graphs(bool on) {
  recorded = on;
}

bool step_graphs() {
  return recorded;
}

void StepGraphs::run(std::int64_t kind, const std::function<void()>& step) {
  Event& end = ends_[turn_];
  turn_ = 1 - turn_;
  end.wait();
  queue(kind, step);
  end.record(main_stream());
}

void StepGraphs::run_unrecorded(const std::function<void()>& step) {
  if (!step_graphs()) return step();
  const MemoryPool::Use memory(*memory_);
  step();
}

void StepGraphs::queue(std::int64_t kind, const std::function<void()>& step) {
  if (!step_graphs() || !refusal_.empty()) return run_unrecorded(step);
  const auto [form, is_new] = forms_.try_emplace({kind, fusions_now()});
  if (is_new) return run_unrecorded(step);
  std::optional<RecordedWork>& work = form->second;
  if (!work) try {
      // What libraries took for themselves in the first step, they hold.
      const std::int64_t held = memory_->held_blocks();
      memory_->pin();
      run_unrecorded([&] { work.emplace(step); });
      expect(memory_->held_blocks() == held, "step_graph", "expected a step that keeps none of its tensors, got ",
             memory_->held_blocks() - held, " that it kept");
    } catch (const OutOfMemory&) {
      throw;
    } catch (const Error& error) {
      work.reset();
      refusal_ = error.what();
      return run_unrecorded(step);
    }
  work->queue();
}

std::int64_t StepGraphs::recorded() const {
  return std::count_if(forms_.begin(), forms_.end(), [](const auto& form) { return form.second.has_value(); });
}

}  // namespace omniconv
