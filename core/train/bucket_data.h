// Sorting a run's rows into buckets by the sizes of their pictures: headers are read, no picture is decoded.
#pragma once
#include "core/plug/model.h"
#include "core/train/run_data.h"

namespace t2i {

// Fills RunData::buckets and in_bucket, and the loader's sizes; nothing where data.buckets is empty. A row whose picture
// has no readable header goes into the fullest bucket, so that the run stops at it as it does without buckets, or is left
// out under data.on_error: skip. Failure E8080, and E3011 where no row is left.
void sort_into_buckets(RunData& data, const Config& config, const Model& model);

}  // namespace t2i
