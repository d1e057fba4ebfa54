#include "core/plan/memory_plan.h"

#include <c10/core/CachingDeviceAllocator.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "core/plan/block_choice.h"
#include "core/train/batch.h"
#include "core/train/batch_source.h"

namespace t2i {
namespace {

// What computing adds to a process on a CPU beside tensors: pages of the libraries that come in with the first products,
// their scratch memory, code that they compile. Measured: docs/plan.md.
constexpr uint64_t at_work_bytes = 65'000'000;
// Work space of a GPU's matrix products and convolutions, which comes from the same allocator, and the driver's own
// memory, which does not. Not measured yet.
constexpr uint64_t gpu_workspace_bytes = 100'000'000, gpu_context_bytes = 600'000'000;

// Pictures that are decoded and wait, and those that are being decoded.
uint64_t loader_bytes(const Config& config, const RunData& data, const DataPlan& seen) {
  uint64_t columns = 0;
  for (const ColumnSpec& c : data.loader.columns) columns += c.is_image;
  const uint64_t ready = 3 * sizeof(float) * static_cast<uint64_t>(data.resolution * data.resolution) * columns;
  const uint64_t ahead = static_cast<uint64_t>(data.loader.batches_ahead + 1) * static_cast<uint64_t>(config.train.train_batch_size);
  const uint64_t decoding = 2 * 3 * seen.largest_pixels * static_cast<uint64_t>(std::max<int64_t>(1, config.data.num_workers));
  return ready * ahead + decoding;
}

// What the encoder will remember by the end of the run.
uint64_t remembered_bytes(const Config& config, const DataPlan& seen, const Rehearsal& r, uint64_t picture_columns, int64_t samples) {
  const int64_t rows = seen.rows - static_cast<int64_t>(seen.left_out.size());
  const int64_t ways = config.data.random_flip ? 2 : 1;  // a sample comes back unchanged
  const bool cropped_at_random = !config.data.center_crop && !seen.all_square;
  const int64_t pictures = cropped_at_random ? samples : std::min(samples, rows * ways);
  const uint64_t bytes = static_cast<uint64_t>(std::max<int64_t>(pictures, 0)) * picture_columns * r.a_picture +
                         static_cast<uint64_t>(std::min(seen.texts, samples) + 1) * r.a_text;
  return std::min(bytes, static_cast<uint64_t>(Encoder::most_remembered_bytes));
}

std::string blocks_text(const Rehearsal& r) {
  int64_t again = 0, blocks = static_cast<int64_t>(r.blocks.size());
  for (int64_t i = 0; i < blocks; ++i) again += r.recompute.includes(i);
  return fmt::format("{} of {} blocks {} computed again in backward", again, blocks, again == 1 ? "is" : "are");
}

}  // namespace

MemoryPlan plan_memory(const Config& config, const RunData& data, const DataPlan& seen, const MemoryQuestion& question, uint64_t program_bytes) {
  BatchPlan batches{0, config.train.train_batch_size, config.train.gradient_accumulation_steps, 0, static_cast<int>(question.processes)};
  RehearsalOptions options{.plugin_paths = question.plugin_paths, .gpu = question.gpu};
  options.max_steps = steps_of(config, seen.rows, batches.per_step());
  if (config.train.activation_memory_gb) options.recompute = choose_blocks(config, data, options).plan;
  MemoryPlan plan;
  plan.rehearsal = rehearse(config, data, options);
  const Rehearsal& r = plan.rehearsal;
  plan.blocks = blocks_text(r);

  auto share = [&](const std::string& what, uint64_t bytes) {
    if (bytes) plan.shares.push_back({what, bytes});
    plan.all += bytes;
  };
  if (!question.gpu) share("program and libraries", program_bytes + at_work_bytes);
  for (const PartHeld& part : r.parts) share(fmt::format("weights of {} ({})", part.part, part.dtype), part.bytes);
  share("gradients", r.gradients);
  share("optimizer", r.optimizer);
  share("average of the weights", r.average);
  // One of them at a time.
  const uint64_t most = std::max({r.encoding, r.step, r.pictures});
  share(most == r.step ? "activations of a step" : most == r.encoding ? "encoding a sample" : "drawing validation pictures", most);
  const uint64_t counted = r.held() + most, reached = question.gpu ? r.most : r.addresses;
  share("gaps between them", reached - std::min(reached, counted));
  uint64_t picture_columns = 0;
  for (const ColumnSpec& c : data.loader.columns) picture_columns += c.is_image;
  const int64_t samples = options.max_steps * batches.per_step() / std::max<int64_t>(1, question.processes);
  share("encoded samples that are remembered", remembered_bytes(config, seen, r, picture_columns, samples));
  if (question.gpu) share("work space", gpu_workspace_bytes);
  else share("pictures that wait", loader_bytes(config, data, seen));
  plan.needed = plan.all + (question.gpu ? gpu_context_bytes : 0);
  return plan;
}

uint64_t memory_there(bool gpu) {
  if (gpu) return c10::getDeviceAllocator(c10::kCUDA)->getMemoryInfo(0).second;
  uint64_t bytes = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGE_SIZE));
  for (const char* file : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"})
    if (uint64_t limit = 0; std::ifstream(file) >> limit && limit) bytes = std::min(bytes, limit);
  return bytes;
}

}  // namespace t2i
