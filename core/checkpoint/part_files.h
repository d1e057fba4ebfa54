// Which files of a model's part go along when a folder is made from it, and what they are called there.
//
// A folder that is opened without further words has plain names: diffusers asks for diffusion_pytorch_model.safetensors
// and does not look for *.fp16.safetensors. So the weights get the plain name, shards and index too; other variants of
// them stay behind, and so does what is a pickle, which t2i neither reads nor hands on. Of a part that was given by
// itself only config.json and the weights go along, or the files that it lists: its folder may be a repository with other
// things at its top.
#pragma once
#include <string>
#include <vector>

#include "core/checkpoint/model_folder.h"

namespace t2i {

struct PartFile {
  Path from;
  Path to;     // within the part's folder
  Json index;  // the shards' index with their new names, to be written instead of `from`; null otherwise
};

// What shard number `shard` (from 0) of `shards` is called: "STEM-00001-of-00003.safetensors".
std::string shard_name(const std::string& stem, size_t shard, size_t shards);

// Sorted by `to`. Failure E4104 where the folder cannot be listed.
std::vector<PartFile> part_files(const ModelPart& part);

// Has the part weights, but no other than pickles?
bool has_only_pickles(const ModelPart& part);

}  // namespace t2i
