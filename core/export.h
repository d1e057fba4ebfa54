// `t2i export`: a model in another form, as a diffusers folder or as a single file.
#pragma once
#include "core/commands.h"

namespace t2i {

int export_command(const ExportOptions& options);

}  // namespace t2i
