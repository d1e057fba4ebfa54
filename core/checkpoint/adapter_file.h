// Reading an adapter: which of its tensors belong to which layer. Nothing is computed here; docs/adapters.md has the forms.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "core/checkpoint/adapter_names.h"
#include "core/checkpoint/safetensors.h"

namespace t2i {

// What a file holds for one layer of its own: of ours, several where that is one tensor of several.
struct AdapterLayer {
  std::string name;  // the file's
  const AdapterTarget* target = nullptr;
  const TensorEntry *down = nullptr, *up = nullptr;
  const TensorEntry* alpha = nullptr;      // a number; the layer counts alpha / rank times
  const TensorEntry* magnitude = nullptr;  // of DoRA
  std::optional<double> scale;             // as the header has it, where there is no alpha; else 1
  int64_t rank = 0;
};

struct AdapterFile {
  std::string where;  // as messages name it
  SafetensorsFile file;
  std::vector<AdapterLayer> layers;
  std::vector<std::string> unknown;  // tensors that have no place in this model
};

// Errors: those of open_safetensors; E7110 where no tensor has a place in the model; E7111 shapes of another network; E7112
// half of a pair is missing; E7113 a kind of adapter that is not supported; all of the file's at once.
AdapterFile read_adapter_file(const Path& path, const AdapterNames& names, const std::string& model);

}  // namespace t2i
