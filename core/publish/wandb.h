// report_to: [wandb]: numbers and pictures go through wandb's own client, in a Python process beside the run that reads
// the run's files as they grow (wandb_feed.py). The training waits for it only before the first step and at the end.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/config/config.h"
#include "core/publish/child.h"

namespace t2i {

class WandbFeed {
 public:
  // Starts the client. Failure E8010 (66) where no Python with wandb is found: python3 on PATH, else the one that the
  // program wandb on PATH runs with.
  explicit WandbFeed(const Config& config);

  // Waits until the client has begun its run and tells where it is shown. Failure E8011 (70) when it does not.
  std::string wait_until_ready(const std::function<bool()>& stop);
  void begin();  // the run's files are those of this run now
  // What it had to say since the last call.
  std::vector<std::string> lines();
  // Hands over what is left: `word` is done, stopped or failed. Empty when all is there, else what to type.
  std::string finish(const std::string& word, double patience_seconds, const std::function<bool()>& stop);

 private:
  std::vector<std::string> told(const std::vector<std::string>& heard);

  std::string output_;
  std::unique_ptr<Child> child_;
  bool finished_ = false, lost_ = false;
  std::string last_failure_, where_;
};

}  // namespace t2i
