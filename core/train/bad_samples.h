// bad_samples.jsonl in the run's folder: the rows that data.on_error: skip leaves out, each once, with the reason. Rank
// 0 writes it, whole at every change, so nobody ever reads half of it.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/base/json.h"
#include "core/config/config.h"
#include "core/data/loader.h"
#include "core/dist/group.h"
#include "core/train/logbook.h"

namespace t2i {

class BadSamples {
 public:
  // `resumed`: rows that an earlier attempt found stay in the list; else the list begins with the dataset's own.
  BadSamples(const Config& config, const Dataset& dataset, Group& group, bool resumed);

  // Takes up what this process's loader has skipped since the last call, and tells what is new.
  void collect(const Loader& loader, Logbook& logbook);
  // All processes together, when a checkpoint is saved: what the others have skipped.
  void share(Logbook& logbook);

  // "2 of 40 samples are left out (first: …); all are listed in …"; empty when there is none.
  std::string summary() const;

 private:
  void add(uint64_t row, Json entry, Logbook* logbook);
  void write();

  const Dataset& dataset_;
  Group& group_;
  std::string path_;
  std::map<uint64_t, Json> rows_;  // rank 0: all that are known; the others: what was or will be handed over
  std::vector<uint64_t> unshared_;
  size_t collected_ = 0;  // of Loader::skipped()
  bool changed_ = false;
};

}  // namespace t2i
