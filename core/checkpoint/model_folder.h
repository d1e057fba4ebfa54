// A published model as a folder: model_index.json, a folder per part with its config.json and weights. `model.path` is
// such a folder, or org/name, looked up in the hub's cache on this machine; nothing is downloaded.
#pragma once
#include <deque>
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
  std::string library;     // "diffusers", "transformers"; empty when the index was not read
  std::string class_name;  // "AutoencoderKL"
  Path folder;
  Path config_path;  // config.json, or what such a part has instead (scheduler_config.json …); empty where it has none
  Json config;       // an object; null where there is none
  // What the user wrote where the part was given by itself, with "/NAME" behind it where that was a whole model's
  // folder; empty for a part of the model. Other things than the part may lie in such a folder.
  std::string given{};
  // The single file that its weights are taken from, as the user wrote it; empty: they lie in `folder`.
  std::string file{};
  // Of a part given by itself: the names of its files, where a list tells them; else they are config.json and weights.
  std::vector<std::string> own_files{};
};

struct ModelFolder {
  std::string asked;                // as the user wrote it
  Path root;                        // where it was found
  std::string pipeline_class;       // "_class_name" of model_index.json
  Json index;                       // model_index.json
  std::vector<ModelPart> parts;     // by name; what the index gives as [null, null] is left out
  std::vector<std::string> absent;  // listed by the index, but without a folder (often a safety checker)
  std::string file{};               // the single file that was asked for, as the user wrote it; `asked` is then its base
  const ModelPart* find(std::string_view name) const;
  Result<const ModelPart*> part(std::string_view name) const;  // E2013 where it is absent or not of this model
};

// Where `model.path` is. E2011 (66) with the nearest folder's name or the exact `hf download` command; E2001 for a
// pickle; E2012 for another single file. `part`: it is that part alone that is looked for.
Result<Path> resolve_model(const std::string& model_path, const std::string& part = "");
// The command that fetches a model, or a part of one, into the hub's cache: what t2i reads of it and no more.
std::string download_command(const std::string& hub_name, const std::string& part = "");
// The same without any weights: what a single file needs beside it.
std::string small_download_command(const std::string& hub_name);

// Reads model_index.json and every part's configuration. The first problem is returned: those of resolve_model, E2012
// not a model folder, E2010 not JSON or not of the index's form.
Result<ModelFolder> open_model_folder(const std::string& model_path);

// The model of `path`: that folder, or, where `path` is a single file, the folder `base` with `file` set. E2012 for a file
// without a base and a base without a file, E2011 for what is not there, E2001 for a pickle.
Result<ModelFolder> open_model(const std::string& path, const std::string& base);

// One part of a model by itself (`model.vae: FOLDER`): a folder with the part's config.json, a model's folder that has
// the part `name`, or org/name of either in the hub's cache. Library and class_name are as its configuration tells.
// Those errors, and E2012 where neither is there.
Result<ModelPart> open_model_part(const std::string& asked, const std::string& name);

// The tokenizer that goes with a text encoder given by itself, `text_encoder` → part "tokenizer" (…_2 → …_2): that of
// the model's folder it was taken from; else where its files lie, in the encoder's folder, in tokenizer/ there or beside
// it. Without a name and a folder where there is none. E2010 where its tokenizer_config.json is not JSON.
Result<ModelPart> open_tokenizer_of(const ModelPart& text_encoder);

// The weight files of a part: one, or shards with an index. `variant` "" takes the plain files, or those of the only
// variant there is. E2001 only pickles, E2004 a shard missing, E2014 no weights, E2015 an index that breaks the rules.
struct WeightFiles {
  std::vector<Path> files;              // shards by name
  std::map<std::string, size_t> where;  // tensor → its file, as the index says; empty for a single file
  Path index;                           // empty for a single file
};
Result<WeightFiles> weights_of(const ModelPart& part, const std::string& variant = "");

// All tensors of a part, over its shards. Entries point into `files`; it can be moved, not copied.
struct WeightSet {
  std::vector<SafetensorsFile> files;
  std::map<std::string, const TensorEntry*, std::less<>> tensors;
  std::deque<TensorEntry> made;                 // of a single file (single_file.h): slices of its tensors by their part's names
  std::deque<std::vector<std::byte>> reordered; // the bytes of those that are no slices
  const TensorEntry* find(std::string_view name) const;
  std::optional<Error> damage() const;  // ask after copying: E4108 when a file was changed meanwhile
  void unload(const TensorEntry& copied) const;  // its pages of the file go; else all of a file counts as this process's
  WeightSet() = default;
  WeightSet(const WeightSet&) = delete;
  WeightSet(WeightSet&&) = default;
  WeightSet& operator=(WeightSet&&) = default;
};
// Those errors, those of open_safetensors, and E2015 where index and shards disagree.
Result<WeightSet> open_weights(const ModelPart& part, const std::string& variant = "");
Result<WeightSet> open_weight_files(const WeightFiles& files);

}  // namespace t2i
