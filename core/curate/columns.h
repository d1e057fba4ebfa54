// Which columns of a data set a command looks at.
#pragma once
#include <string>
#include <vector>

#include "core/config/config.h"
#include "core/data/dataset.h"
#include "core/plug/task.h"

namespace t2i {

struct WantedColumns {
  std::vector<ColumnSpec> columns;
  std::vector<std::string> captions;  // of them, those that text encoders read
  std::string task;                   // whose columns they are; empty: what the data itself has
  std::vector<std::string> others;    // fields of the data that are neither pictures nor texts
};

// Those of a task, with the names that data.columns gives them.
WantedColumns columns_of_task(const Task& task, const Config& config);

// Those of the task that the configuration names; else of the task that finds all its columns in the data, the one with the most
// where several do; else all that the data has.
WantedColumns wanted_columns(const Config& config, Registry& registry, const DatasetOptions& options);

// All that the data has, or those of the task that the configuration names.
WantedColumns all_columns(const Config& config, Registry& registry, const DatasetOptions& options);

}  // namespace t2i
