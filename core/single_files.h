// Models and parts out of single files, between the session and the tables by which the family names their tensors.
#pragma once
#include <string>

#include "core/model/tensor_source.h"
#include "core/session.h"

namespace t2i {

// A file that is there and is no folder. What it holds is not looked at.
bool is_single_file(const std::string& path);

// The weights of part `name` from `file`; its configuration stays that of the folder. E2013 where the folder has none.
void replace_weights(ModelFolder& folder, const std::string& name, const std::string& file);

// Settles which parts come from a single file (ModelPart::file) and takes the number of the first layer's inputs from
// there. Nothing where no file was asked for. Failure with all problems: E2016 a part of which the file has only some
// tensors, E2017 none of what is wanted, E2018, and those of open_safetensors.
void settle_single_files(Session& session);

// A part's weights wherever they are; those of a single file by the names of its parameters. E2014 names file and base
// where neither has them; else the errors of open_weights.
WeightSet weights_from(const Session& session, const ModelPart& part, const std::string& variant);

// Is this a network without its weights? So it may be in the base of a single file; where it is not used, it is left out
// of what is written.
bool lacks_weights(const Session& session, const ModelPart& part);

// Writes the part as a folder of a pipeline has it: what small files its folder has, its configuration as the session has
// it, and its weights. `dtype` as in core/model/tensor_source.h, `quantization` as `asked` in core/quantization.h.
void write_part_folder(const Session& session, const ModelPart& part, const WeightSet& weights, const Path& to,
                       std::optional<at::ScalarType> dtype, const std::string& quantization = "", const TensorEdits* edits = nullptr);

}  // namespace t2i
