// What a file holds is checked by TensorBoard itself: tests/test_tensorboard_files.py runs these with T2I_TEST_OUTPUT
// set and reads the folder back.
#include "core/metric/tensorboard.h"

#include <gtest/gtest.h>

#include <cstdlib>

using namespace t2i;

namespace {
using namespace std::string_view_literals;

// A picture of 4 × 2 pixels, all 127, as Pillow writes it.
constexpr std::string_view grey_4x2 =
    "\x89\x50\x4e\x47\x0d\x0a\x1a\x0a\x00\x00\x00\x0d\x49\x48\x44\x52\x00\x00\x00\x04\x00\x00\x00\x02\x08\x02\x00\x00"
    "\x00\xf0\xca\xea\x34\x00\x00\x00\x12\x49\x44\x41"
    "\x54\x78\x9c\x63\xac\xaf\xaf\x67\x80\x01\x26\x06\x24\x00\x00\x24\x06\x01\x81\xf4\x6a\xec\x39\x00\x00\x00\x00\x49\x45\x4e\x44\xae\x42\x60\x82"sv;

struct HandClock : Clock {
  double now = 1.7e9;
  double wall_seconds() override { return now += 1; }
};
}  // namespace

TEST(EventFile, ARunAndItsContinuation) {
  const char* wanted = std::getenv("T2I_TEST_OUTPUT");
  Path folder = wanted ? Path(wanted) : Path(testing::TempDir()) / ("events_" + random_hex(8));
  HandClock clock;
  Path first;
  {
    EventFile file(folder, 0, clock);
    first = file.path();
    StepMetrics m;
    for (m.step = 1; m.step <= 20; ++m.step) {
      m.loss = 1.0 / static_cast<double>(m.step), m.raw_loss = 2 * m.loss, m.lr = 1e-4, m.grad_norm = 0.5;
      m.images_per_second = 12.5, m.memory_bytes = int64_t{2} << 30, m.peak_memory_bytes = int64_t{3} << 30,
      m.extras = {{"grad/query", -0.25}};
      file.metrics(m);
    }
    file.image("validation/0", 20, 4, 2, as_bytes(grey_4x2));
  }
  {
    EventFile file(folder, 10, clock);  // goes on from the checkpoint of step 10
    EXPECT_NE(file.path(), first);
    for (int64_t step = 11; step <= 15; ++step) file.scalar("train/loss", step, 100.0 + static_cast<double>(step));
    file.scalar(std::string(300, 'x'), int64_t{1} << 40, -1e30);  // long tag, large step: multi-byte varints
  }
  EXPECT_GT(std::filesystem::file_size(first), 20u * 100);
  if (!wanted) std::filesystem::remove_all(folder);
}
