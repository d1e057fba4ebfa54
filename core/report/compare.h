// compare.html: runs beside each other, or two folders of pictures.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "core/base/json.h"
#include "core/config/config.h"
#include "core/report/pictures.h"

namespace t2i {

// `t2i compare`: two or more runs, or two folders of pictures. Writes `output` and tells the short of it on stdout.
// E8001 no such folder, E8003 a mixture of runs and folders, E8004 more than two folders of pictures, E8005 `output` is
// somebody's, E8006 the folders have no picture of the same name.
int compare_folders_or_runs(const std::vector<std::string>& folders, const std::string& output);

// What several runs are set to differently: [{key, values, default, doc}], values as YAML has them, empty where a run's
// configuration cannot be read. Names of places (output, the wandb run's) are left out: they always differ.
Json setting_differences(const std::vector<std::optional<Config>>& configs);

// Validation pictures that every run has: {rows: [{prompt, seed}], steps, shots: [{row, step, files: [index per run]}], files}.
Json same_pictures(PictureShelf& shelf, const std::vector<Path>& runs);

}  // namespace t2i
