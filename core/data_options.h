// What the configuration says of the data, as the data room takes it, with the plugins that open its tables.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/config/config.h"
#include "core/data/dataset.h"
#include "core/plug/dataset.h"

namespace t2i {

// Tables are opened through `registry`, which must live as long as the options are used.
DatasetOptions dataset_options(const Config& config, Registry& registry);

// The component that opens this file, by its ending. Failure E2132 where no plugin does, with what to do.
Component table_component(Registry& registry, const std::string& file);

}  // namespace t2i
