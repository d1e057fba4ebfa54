// What a file that should hold weights is instead, with the way out. Weights are only ever read as safetensors: a
// pickle runs code when it is opened.
#include <algorithm>
#include <cctype>

#include "core/base/number_text.h"
#include "core/checkpoint/safetensors.h"

namespace t2i {
namespace {

std::string shell_quoted(const std::string& text) {
  if (text.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./+=@%:") == text.npos)
    return text;
  std::string out = "'";
  for (char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

}  // namespace

bool is_pickle_name(const Path& path) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  for (const char* pickle : {".ckpt", ".bin", ".pt", ".pth", ".pkl", ".pickle"})
    if (extension == pickle) return true;
  return false;
}

std::string pickle_conversion(const Path& pickle, const Path& safetensors) {
  return "python -c \"import sys, torch, safetensors.torch as s; w = torch.load(sys.argv[1], map_location='cpu', "
         "weights_only=True); "
         "w = w.get('state_dict', w); s.save_file({k: v.clone().contiguous() for k, v in w.items() if "
         "torch.is_tensor(v)}, sys.argv[2])\" " +
         shell_quoted(pickle.string()) + " " + shell_quoted(safetensors.string());
}

std::optional<Error> foreign_file(const Path& path, Bytes start, uint64_t size) {
  std::string_view text(reinterpret_cast<const char*>(start.data()), start.size());
  if (text.starts_with("version https://git-lfs.github.com/spec/"))
    return Error{path.string(),
                 "is " + grouped(size) + " bytes of text: a Git-LFS pointer, not the weights",
                 "",
                 "git lfs pull, or hf download the model",
                 "E2002",
                 Exit::missing};

  std::string begin(text.substr(std::min(text.find_first_not_of(" \t\r\n\xef\xbb\xbf"), text.size()), 40));
  std::string lower = begin;
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  if (lower.starts_with("<!doctype html") || lower.starts_with("<html"))
    return Error{path.string(),
                 "file begins with \"" + begin.substr(0, begin.find_first_of("\r\n")) +
                     "\": this is a web page, not the weights",
                 "Usually the model is gated: the hub answered with a page",
                 "accept the licence on the model's page, hf auth login, and download again",
                 "E2004",
                 Exit::missing};

  bool zip = text.starts_with(std::string_view("PK\x03\x04", 4));
  bool pickle = text.size() > 1 && text[0] == '\x80' && text[1] >= 2 && text[1] <= 5;
  if (zip || pickle || is_pickle_name(path)) {
    Path target = path;
    target.replace_extension(".safetensors");
    if (target == path) target += ".converted.safetensors";
    return Error{
        path.string(),
        "is a Python pickle, which can run code when opened",
        "t2i only reads safetensors",
        "download the .safetensors file of this model, or, if you trust the file, " + pickle_conversion(path, target),
        "E2001",
        Exit::bad_data};
  }
  if (text.starts_with("GGUF"))
    return Error{
        path.string(), "is a GGUF file", "t2i only reads safetensors", "download the .safetensors file of this model",
        "E2005",       Exit::bad_data};
  bool readable = !text.empty() &&
                  std::all_of(text.begin(), text.end(), [](unsigned char c) { return c >= 0x20 || std::isspace(c); });
  if (readable)
    return Error{path.string(),
                 "is text, not weights; it begins with \"" + begin.substr(0, begin.find_first_of("\r\n")) + "\"",
                 "",
                 "download the file again",
                 "E2005",
                 Exit::bad_data};
  return std::nullopt;
}

}  // namespace t2i
