#include "core/plan/block_choice.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "core/base/number_text.h"

namespace t2i {

std::vector<bool> most_saving(const std::vector<int64_t>& savings, size_t count) {
  std::vector<size_t> order(savings.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return savings[a] > savings[b]; });
  std::vector<bool> marked(savings.size(), false);
  for (size_t i = 0; i < std::min(count, order.size()); ++i) marked[order[i]] = true;
  return marked;
}

BlockChoice choose_blocks(const Config& config, const RunData& data, RehearsalOptions options) {
  const double budget = *config.train.activation_memory_gb * 1e9;
  options.pictures = false;
  auto with = [&](RecomputePlan plan) {
    options.recompute = std::move(plan);
    return rehearse(config, data, options);
  };
  auto fits = [&](const Rehearsal& r) { return static_cast<double>(r.step) <= budget; };
  auto choice = [](const Rehearsal& r) {
    BlockChoice c{r.recompute, static_cast<int64_t>(r.blocks.size()), 0, r.step};
    for (int64_t i = 0; i < c.blocks; ++i) c.again += r.recompute.includes(i);
    return c;
  };
  const Rehearsal none = with({0, {}});
  if (fits(none)) return choice(none);
  const Rehearsal all = with({1, {}});
  if (!fits(all)) {
    auto key = config.positions.find("train.activation_memory_gb");
    fail({key == config.positions.end() ? "train.activation_memory_gb" : key->second,
          fmt::format("a step's activations take {} even when every block is computed again",
                      bytes_text(all.step)),
          fmt::format("The budget is {}", bytes_text(static_cast<uint64_t>(budget))),
          "raise it, or lower train.train_batch_size or data.resolution", "E7251", Exit::config});
  }
  std::vector<int64_t> savings;
  for (size_t i = 0; i < none.blocks.size(); ++i)
    savings.push_back(static_cast<int64_t>(none.blocks[i].bytes) - static_cast<int64_t>(all.blocks.at(i).bytes));
  // Fewer blocks run again never take less, so the fewest that fit are found by halving.
  size_t low = 1, high = savings.size();
  BlockChoice best = choice(all);
  while (low <= high) {
    const size_t count = (low + high) / 2;
    const Rehearsal tried = with({0, most_saving(savings, count)});
    if (fits(tried)) best = choice(tried), high = count - 1;
    else low = count + 1;
  }
  return best;
}

std::string to_text(const BlockChoice& c, const Config& config) {
  return fmt::format("{} of {} blocks {} computed again in backward: activations take {} of {}", c.again, c.blocks,
                     c.again == 1 ? "is" : "are", bytes_text(c.bytes),
                     bytes_text(static_cast<uint64_t>(*config.train.activation_memory_gb * 1e9)));
}

}  // namespace t2i
