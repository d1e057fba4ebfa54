#include "core/curate/convert.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdio>
#include <deque>

#include "core/base/number_text.h"
#include "core/curate/columns.h"
#include "core/curate/conversion.h"
#include "core/data/text.h"
#include "core/data_options.h"
#include "core/metric/job_bar.h"
#include "core/plug/host.h"

namespace t2i {
namespace {

std::unique_ptr<LayoutWriter> writer_of(Conversion& job) {
  const std::string& to = job.options.to;
  if (to == "imagefolder" || to == "triplets") return list_writer(job, to == "triplets");
  if (to == "image_txt" || to == "kohya") return tree_writer(job, to == "kohya");
  if (to == "parquet") return table_writer(job);
  return shard_writer(job);
}

// The rows that can be used, those that follow one another and are the same as one that counts several times. `folded` keeps them.
std::vector<const Row*> rows_of(const Dataset& dataset, std::deque<Row>& folded) {
  std::vector<bool> bad(dataset.rows.size());
  for (const BadRow& row : dataset.bad) bad[row.index] = true;
  std::vector<const Row*> rows;
  for (const Row& row : dataset.rows) {
    if (bad[row.index]) continue;
    if (!rows.empty() && rows.back()->values == row.values) {
      if (folded.empty() || rows.back() != &folded.back()) {
        folded.push_back(*rows.back());
        rows.back() = &folded.back();
      }
      folded.back().repeats += row.repeats;
    } else {
      rows.push_back(&row);
    }
  }
  return rows;
}

}  // namespace

int convert_command(const ConvertOptions& options) {
  Registry registry(plugin_search_path(options.plugin_paths), host());
  const Config& config = options.config;
  Staging staging(options.output);  // first: a name that is taken costs no reading
  DatasetOptions read = dataset_options(config, registry);
  read.expand_repeats = false;
  const WantedColumns wanted = all_columns(config, registry, read);
  const Dataset dataset = open_dataset(config.data.path, wanted.columns, read);
  std::deque<Row> folded;
  Conversion job{options, dataset, wanted.columns, rows_of(dataset, folded), staging, registry};

  const std::unique_ptr<LayoutWriter> writer = writer_of(job);
  uint64_t samples = 0, done = 0;
  {
    JobBar bar("writing row", job.rows.size());
    for (const Row* row : job.rows) {
      writer->add(*row);
      samples += job.times(*row);
      bar.done(++done);
    }
  }
  writer->finish();
  staging.commit();

  for (const std::string& notice : dataset.notices) std::fprintf(stderr, "notice: %s\n", printable(notice).c_str());
  if (!dataset.bad.empty())
    std::fprintf(stderr, "notice: left out %s that cannot be used; t2i validate lists them\n", counted(dataset.bad.size(), "row").c_str());
  if (!wanted.others.empty())
    std::fprintf(stderr, "notice: left out what is neither picture nor text: %s\n", printable(fmt::format("{}", fmt::join(wanted.others, ", "))).c_str());
  const std::string how = job.linked == 0             ? fmt::format("{} ({}) copied", counted(job.pictures, "picture"), bytes_text(job.picture_bytes))
                          : job.linked == job.pictures ? counted(job.pictures, "picture") + " linked"
                                                       : fmt::format("{}, {} of them linked", counted(job.pictures, "picture"), job.linked);
  std::printf("%s: %s%s as %s, %s\n", printable(options.output).c_str(), counted(job.rows.size(), "row").c_str(),
              samples > job.rows.size() ? fmt::format(" ({} an epoch with their repeats)", samples).c_str() : "", options.to.c_str(), how.c_str());
  return 0;
}

}  // namespace t2i
