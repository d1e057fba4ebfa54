// What the files of adapters call a model's layers. diffusers and peft write the layer's own name behind the part's,
// kohya's programs the same or the single file's name (file_names.h) with '_' for '.', ComfyUI reads the latter two and
// the single file's name as it is. All of them are looked for; formats are told apart by the names alone, as everyone does.
#pragma once
#include <string>
#include <unordered_map>
#include <vector>

#include "core/checkpoint/file_names.h"

namespace t2i {

// A part whose layers may be adapted.
struct AdapterPart {
  std::string name;                    // "unet"
  bool is_denoiser = false;            // names without a part's name, or with a family's prefix, are meant for it
  std::vector<NamedShape> weights;     // of its linear and convolution layers, each ending in ".weight"
  std::string optional_prefix;         // of its own names (load.h)
  std::vector<std::string> flattened;  // what stands before names with '_' for '.'; the first is written
  const FileForm* form = nullptr;      // the names of the family's single files, null where it has none
};

// The layers that a name of a file means: several where the file's tensor holds them one behind another, by rows.
struct AdapterTarget {
  const AdapterPart* part = nullptr;
  std::vector<const NamedShape*> weights;
  FileRow::Change change = FileRow::Change::none;
};

using AdapterNames = std::unordered_map<std::string, AdapterTarget>;  // the name of a layer in a file, without what follows it

// `parts` must outlive the table.
AdapterNames adapter_names(const std::vector<AdapterPart>& parts);

// "a.b.weight" -> "a.b"
std::string layer_of(const std::string& weight);
// "a.b" -> "a_b"
std::string flattened(std::string name);

// What "lora_unet_" and the like stand for: the prefixes of the part's flattened names, as kohya's programs have them.
std::vector<std::string> usual_prefixes(const std::string& part, bool is_denoiser);

}  // namespace t2i
