// What a run tells while it goes: metrics.jsonl (an object a step), TensorBoard, and a line for the person watching.
// Values stay on the device until a logging step reads all steps since the last one in a single transfer.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/config/config.h"
#include "core/dist/group.h"
#include "core/train/step.h"

namespace t2i {

struct StepRecord {
  int64_t step = 0;  // from 1
  double epoch = 0, learning_rate = 0, step_seconds = 0, data_seconds = 0;
  int64_t images = 0;  // over all processes
  StepResult result;
  std::vector<std::string> samples;  // where this process's rows came from: named if the step's gradient is no number
  std::vector<std::pair<std::string, double>> part_rates;  // "lr/PART", where parts have rates of their own
};

class Logbook {
 public:
  // Rank 0 writes; the others only take part in averaging. `resumed_step`: later lines of metrics.jsonl are cut off.
  // `nan_skips`: steps without a usable gradient up to then.
  Logbook(const Config& config, Group& group, int64_t resumed_step, int64_t nan_skips, int64_t max_steps,
          bool loss_scaling, at::Device device);
  ~Logbook();

  void add(StepRecord record);
  // Reads and writes everything added. Failure E4201 when steps without a usable gradient were more than allowed.
  void flush();
  int64_t nan_skips() const;           // of all that was flushed, and of the run before it
  void note(const std::string& line);  // one line to the person, kept in events.jsonl
  // Kept there alone. `kind` as core/metric/run_events.h has it.
  void record(const std::string& kind, const std::string& text);
  void saved(int64_t step);            // a checkpoint was committed
  void paused();                       // what comes until the next step is not part of its time
  void image(const std::string& tag, const std::string& png_path, int64_t width, int64_t height, int64_t step);  // to TensorBoard

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace t2i
