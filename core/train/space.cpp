#include "core/train/space.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "core/base/file.h"
#include "core/base/number_text.h"
#include "core/checkpoint/commit.h"
#include "core/train/final_folder.h"
#include "core/train/saved_state.h"

namespace t2i {

SpaceNeeded space_needed(const Config& config, const Session& session, const TrainState& state, int64_t max_steps) {
  const int64_t left = max_steps - state.step, every = config.checkpoint.every_steps, keep = config.checkpoint.keep;
  if (left <= 0) return {};
  int64_t planned = every > 0 ? max_steps / every - state.step / every + (max_steps % every != 0) : 1;
  auto there = list_checkpoints(config.output);
  int64_t reused = std::min<int64_t>(static_cast<int64_t>(there.size()), keep);  // their room becomes free again
  // An old checkpoint is pruned only when the new one is there, so for a moment there is one more than is kept.
  int64_t while_saving = std::min(planned, keep + 1 - reused), at_the_end = std::min(planned, keep - reused);
  SpaceNeeded need{while_saving, saved_bytes(state), final_bytes(session, config, state)};
  need.all = std::max(static_cast<uint64_t>(while_saving) * need.each,
                      static_cast<uint64_t>(at_the_end) * need.each + need.final_folder);
  return need;
}

void require_space(const Config& config, const Session& session, const TrainState& state, int64_t max_steps) {
  const SpaceNeeded need = space_needed(config, session, state, max_steps);
  if (need.all == 0) return;
  auto there = list_checkpoints(config.output);
  require_free(
      real_file_system(), config.output, need.all,
      fmt::format("{} more checkpoint{} of {} each and final/ of {}", need.checkpoints,
                  need.checkpoints == 1 ? "" : "s", bytes_text(need.each), bytes_text(need.final_folder)),
      there.empty() ? "No step was made" : "No step was made; last good: " + there[0].second.filename().string());
}

}  // namespace t2i
