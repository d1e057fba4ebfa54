// Who looks at a run while it trains and takes its result: report.html, wandb, the hub. Rank 0 alone has them. None of
// them ever ends a run that has begun, and none is waited for between steps.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "core/base/error.h"
#include "core/base/json.h"
#include "core/config/config.h"
#include "core/train/logbook.h"

namespace t2i {

class Observers {
 public:
  // Before anything is loaded. Failure E8010, E8012, E8013 where what was asked for is not installed or wrongly named.
  Observers(const Config& config, bool is_first);
  ~Observers();

  // The run's files are there; the steps after `step` begin. E8011 where wandb refuses.
  void begin(Logbook& logbook, const Json& data_summary);
  // Between two steps: what clients had to say.
  void listen();
  // A checkpoint or pictures were saved: report.html is written anew, in the background.
  void refresh();
  // Runs `train`; where it fails, the report and wandb are told before the failure goes on.
  Exit watch(const std::function<Exit()>& train);

  struct Done {
    std::string base_folder;  // where the model began
    int64_t steps = 0;
    bool edits = false;  // the task reads a picture
  };
  // The run ended as `result`; with `done` its final/ is there and is uploaded where asked for. Returns what went wrong
  // with that (E8014), to be said last.
  std::optional<Error> finish(Exit result, const Done& done);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace t2i
