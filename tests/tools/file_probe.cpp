// What core/checkpoint makes of files, as JSON, for comparison with the programs that others wrote.
//   file_probe judge PACK            each file of PACK (8-byte length, bytes, …): accepted with these tensors, or the
//   error file_probe write SPEC OUT        a safetensors file from SPEC: {"metadata": {…}, "tensors": [{name, dtype,
//   shape, hex}]} file_probe model PATH            where it is, its parts file_probe part PATH NAME        where a part
//   given by itself is, and its class file_probe weights PATH PART [VARIANT]   the part's tensors with their SHA-256
//   file_probe sha256 FILE
#include <cstdio>
#include <iostream>

#include "core/base/hash.h"
#include "core/base/json.h"
#include "core/checkpoint/model_folder.h"
#include "core/checkpoint/safetensors.h"

using namespace t2i;

namespace {

std::string hex_of(Bytes bytes) {
  std::string out;
  for (std::byte b : bytes)
    for (int shift : {4, 0}) out += "0123456789abcdef"[std::to_integer<int>(b) >> shift & 15];
  return out;
}

std::string from_hex(const std::string& hex) {
  std::string out;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) out += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return out;
}

Json described(const TensorEntry& t, const std::string& content) { return {{"dtype", dtype_name(t.dtype)}, {"shape", t.shape}, {"data", content}}; }

void judge(const std::string& pack) {
  std::string all = read_file(pack, uint64_t{1} << 30).take();
  for (size_t at = 0; at < all.size();) {
    uint64_t size = 0;
    for (size_t i = 0; i < 8; ++i) size |= static_cast<uint64_t>(static_cast<unsigned char>(all[at + i])) << (8 * i);
    // A copy of exactly this size, so that a sanitizer sees any step over its end.
    std::vector<std::byte> bytes(as_bytes(all).begin() + static_cast<long>(at) + 8, as_bytes(all).begin() + static_cast<long>(at + 8 + size));
    at += 8 + size;
    Result<SafetensorsFile> file = parse_safetensors(bytes, "m.safetensors");
    Json verdict;
    if (file) {
      verdict["tensors"] = Json::object();
      for (const TensorEntry& t : file->tensors) verdict["tensors"][t.name] = described(t, hex_of(t.bytes));
      verdict["metadata"] = file->metadata;
    } else {
      verdict["error"] = to_string(file.error());
    }
    std::cout << verdict.dump(-1, ' ', false, Json::error_handler_t::replace) << "\n";
  }
}

void write(const std::string& spec_path, const std::string& out) {
  Json spec = read_json(spec_path).take();
  std::vector<std::string> data;
  std::vector<TensorSource> tensors;
  for (const Json& t : spec["tensors"]) data.push_back(from_hex(t["hex"]));
  for (size_t i = 0; i < data.size(); ++i) {
    const Json& t = spec["tensors"][i];
    tensors.push_back({t["name"], *dtype_of(t["dtype"].get<std::string>()), t["shape"].get<std::vector<int64_t>>(), as_bytes(data[i])});
  }
  std::cout << write_safetensors(out, tensors, spec["metadata"].get<SafetensorsMetadata>()) << "\n";
}

void show_model(const std::string& path) {
  ModelFolder model = open_model_folder(path).take();
  Json parts = Json::object();
  for (const ModelPart& p : model.parts) parts[p.name] = {{"library", p.library}, {"class", p.class_name}, {"config", p.config}};
  std::cout << Json{{"root", model.root.string()}, {"class", model.pipeline_class}, {"parts", parts}, {"absent", model.absent}} << "\n";
}

void show_part(const std::string& path, const std::string& name) {
  ModelPart part = open_model_part(path, name).take();
  std::cout << Json{{"folder", part.folder.string()}, {"library", part.library}, {"class", part.class_name}} << "\n";
}

void show_weights(const std::string& path, const std::string& part, const std::string& variant) {
  ModelFolder model = open_model_folder(path).take();
  WeightSet weights = open_weights(*model.part(part).take(), variant).take();
  Json out = Json::object();
  for (const auto& [name, t] : weights.tensors) out[name] = described(*t, sha256_hex(t->bytes));
  std::cout << Json{{"files", weights.files.size()}, {"tensors", out}} << "\n";
}

}  // namespace

int main(int count, char** given) try {
  std::vector<std::string> args(given + 1, given + count);
  args.resize(5);
  if (args[0] == "judge") judge(args[1]);
  else if (args[0] == "write") write(args[1], args[2]);
  else if (args[0] == "model") show_model(args[1]);
  else if (args[0] == "part") show_part(args[1], args[2]);
  else if (args[0] == "weights") show_weights(args[1], args[2], args[3]);
  else if (args[0] == "sha256") std::cout << sha256_of_file(args[1]).take() << "\n";
  else return static_cast<int>(Exit::usage);
  return 0;
} catch (const Failure& f) {
  std::cerr << f.what() << "\n";
  return static_cast<int>(f.exit());
}
