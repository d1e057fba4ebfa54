// report.html: a run on one page. `t2i report` makes it from a folder; a run makes its own at every checkpoint.
#pragma once
#include <optional>
#include <string>

#include "core/report/curves.h"
#include "core/report/pictures.h"
#include "core/report/run_folder.h"

namespace t2i {

// Remembers what it has read: the next page reads only what is new.
class RunReport {
 public:
  explicit RunReport(Path run) : run_(std::move(run)) {}

  // The page. `status`: what the run itself knows of its state (RunFolder::status); empty: as the folder tells.
  // E8001, E8002.
  Result<std::string> page(const std::string& status = "");

  const Curves& curves() const { return curves_; }
  size_t pictures() const { return pictures_; }  // on the last page

 private:
  Path run_;
  Curves curves_;
  PictureShelf shelf_;
  size_t pictures_ = 0;
};

// What a page says of one run besides its pictures: name, status, steps, settings, events, curves.
Json run_json(const RunFolder& run, const Curves& curves, const std::string& status);

// `t2i report RUN [--output FILE]`: writes it and tells on stdout.
int report_run(const std::string& folder, const std::string& output);

}  // namespace t2i
