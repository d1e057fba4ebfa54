// A model's parts out of one file. Their tensors bear the names of the family's authors, sometimes several in one; what
// comes out is a WeightSet of each part by the names of its own folder, whose entries are slices of the mapped file
// wherever the bytes lie in the right order, so that nothing is copied and a part can be loaded and let go by itself.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "core/checkpoint/file_names.h"
#include "core/checkpoint/model_folder.h"

namespace t2i {

// open_safetensors, and E2018 for files whose weights are packed with scales (as 4-bit and scaled 8-bit ones are): those
// are not numbers that could be taken as they stand.
Result<SafetensorsFile> open_single_file(const Path& path);

// How much of a part a file holds, by the form and prefix that fit best.
struct PartInFile {
  const FileForm* form = nullptr;
  std::string prefix;
  size_t found = 0;                  // parameters
  std::vector<std::string> missing;  // tensors that should be there, by their names in the file
};
// Nothing where it holds no parameter of it. `alone`: the part may be what the file is of, so that names without a
// prefix count too; in a file of several parts they could be another's.
std::optional<PartInFile> find_part(const SafetensorsFile& file, const std::vector<FileForm>& forms,
                                    const std::vector<NamedShape>& parameters, bool alone);

// The part's tensors by its parameters' names, and what else bears its prefix by its own name. A tensor that has not the
// shape that its parameters make together is handed on whole, for the loader to name it. E4108 where the file was
// changed meanwhile.
Result<WeightSet> part_of_file(SafetensorsFile file, const PartInFile& part, const std::vector<NamedShape>& parameters);

// The tensor of the file that holds a parameter; null where it is not there.
const TensorEntry* tensor_of(const SafetensorsFile& file, const PartInFile& part, const std::string& parameter);

}  // namespace t2i
