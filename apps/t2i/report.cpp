#include "core/report/report.h"

#include "apps/t2i/options.h"
#include "core/report/compare.h"

namespace t2i {

int report_command(const Command& self, const std::vector<std::string>& arguments) {
  Options options(self);
  options.positional("run", 1).add("output", "FILE.html", "where to write the page (RUN/report.html)");
  if (!options.parse(arguments)) return 0;
  const Texts run = options.texts("run");
  if (run.empty()) options.problem("t2i report", "the run's folder is missing", "t2i report runs/first", "E1023");
  options.finish();
  return report_run(run[0], options.text("output"));
}

int compare_command(const Command& self, const std::vector<std::string>& arguments) {
  Options options(self);
  options.positional("folders", -1).add("output", "FILE.html", "where to write the page (compare.html)");
  if (!options.parse(arguments)) return 0;
  const Texts folders = options.texts("folders");
  if (folders.size() < 2)
    options.problem("t2i compare", folders.empty() ? "what to compare is missing" : "there is one folder only",
                    "give two runs or more, or two folders of pictures", "E1023");
  options.finish();
  return compare_folders_or_runs(folders, options.text("output", "compare.html"));
}

}  // namespace t2i
