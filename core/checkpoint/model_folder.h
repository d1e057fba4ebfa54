// A published model as a folder: model_index.json, a folder per part with its config.json and weights. `model.path` is
// such a folder, or org/name, looked up in the hub's cache on this machine; nothing is downloaded.
#pragma once
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/checkpoint/safetensors.h"

namespace t2i {

struct ModelPart {
  std::string name;        // "unet", "text_encoder_2": the folder's name and the key in model_index.json
  std::string library;     // "diffusers", "transformers"
  std::string class_name;  // "AutoencoderKL"
  Path folder;
  Path config_path;  // config.json, or what the part has instead (scheduler_config.json …); empty where it has none
  Json config;       // null where there is none
};

struct ModelFolder {
  std::string asked;             // as the user wrote it
  Path root;                     // where it was found
  std::string pipeline_class;    // "_class_name" of model_index.json
  Json index;                    // model_index.json
  std::vector<ModelPart> parts;  // in the index's order of names; parts given as [null, null] are left out
  const ModelPart* find(std::string_view name) const;
  Result<const ModelPart*> part(std::string_view name) const;  // E2013 where the model has none of that name
};

// Where `model.path` is. Errors: E2011 with the nearest folder, or the exact `hf download` command; exit 66.
Result<Path> resolve_model(const std::string& model_path);

// Reads model_index.json and every part's configuration. The first problem is returned: E2012 not a model folder, E2010
// JSON, E2013 a part that the index lists is not there.
Result<ModelFolder> open_model_folder(const std::string& model_path);

// A part's configuration when only its folder is known (a model made of parts, `model.vae`).
Result<ModelPart> open_model_part(const Path& folder);

// The weight files of a part: one, or the shards in order. `variant` "" takes the plain files, or the fp16 ones where
// only they exist. Errors: E2001 only pickles, E2004 a shard missing, E2014 no weights, E2015 index against the rules.
struct WeightFiles {
  std::vector<Path> files;
  std::map<std::string, size_t> where;  // tensor → index into files, as the shard index says; empty for a single file
  Path index;                           // the shard index, empty for a single file
};
Result<WeightFiles> weights_of(const ModelPart& part, const std::string& variant = "");

// All tensors of a part, over its shards.
struct WeightSet {
  std::vector<SafetensorsFile> files;
  std::map<std::string, const TensorEntry*, std::less<>> tensors;
  const TensorEntry* find(std::string_view name) const;
  std::optional<Error> damage() const;  // after copying: E4108 when a file was cut meanwhile
  WeightSet() = default;
  WeightSet(WeightSet&&) = default;
  WeightSet& operator=(WeightSet&&) = default;
};
Result<WeightSet> open_weights(const ModelPart& part, const std::string& variant = "");
Result<WeightSet> open_weight_files(const WeightFiles& files);

}  // namespace t2i
