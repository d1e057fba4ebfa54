// The captions of a run's rows: which there are, and which a sample takes.
#pragma once
#include "core/data/caption.h"
#include "core/plug/task.h"
#include "core/train/run_data.h"

namespace t2i {

// What is asked of the data for the task's columns: in place of a prompt's column those of data.caption_weights, any of
// which a row may lack. Failure E8091 where a weight is no number of 0 or more.
std::vector<ColumnSpec> columns_to_read(const Config& config, const Task& task, const std::vector<ColumnSpec>& wanted);

// After the data was opened: gives every row its captions, and the loader the one that a sample takes. Failure E8090
// where a row has none of them.
void set_captions(RunData& data, const Config& config, const Task& task);

// The captions of a row, all with their weights, as they are written.
std::vector<Caption> captions_of(const RunData& data, const Row& row, const std::string& column);

}  // namespace t2i
