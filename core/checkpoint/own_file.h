// Tensors that a person asked for by name: --outputs, --save-latents. A slip of the hand must not cost a model's
// weights, so that what lies there already is only replaced when t2i wrote it as such a file.
#pragma once
#include <string>
#include <vector>

#include "core/checkpoint/safetensors.h"

namespace t2i {

// E6007 (73) where another file or a folder has the name; `option` is what the person used. To be asked before work is
// done for the file.
void require_own_file(const Path& path, const std::string& option);

// Writes the tensors, and in the metadata that t2i did ("software": "t2i VERSION"). Asks again.
// Makes the folders above.
void write_own_file(const Path& path, const std::string& option, std::vector<TensorSource> tensors);

}  // namespace t2i
