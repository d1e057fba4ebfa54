#include "core/generate/prompts.h"

#include <filesystem>

#include "core/base/file.h"
#include "core/base/json.h"
#include "core/data/text.h"

namespace t2i {

namespace {

Error bad_line(const std::string& where, const std::string& what, const std::string& todo) {
  return {where, what, "", todo, "E6005", Exit::bad_data};
}

std::optional<Error> read_object(std::string_view line, size_t number, const std::string& path, Prompt& prompt) {
  JsonRules rules;
  rules.first_line = number;
  rules.id = "E6005";
  Result<Json> object = parse_json(line, path, rules);
  if (!object) return object.error();
  if (!object->is_object()) return bad_line(prompt.where, "the line is not a JSON object", R"(write {"prompt": "…"})");
  for (const auto& [key, value] : object->items()) {
    bool text = key == "prompt" || key == "image" || key == "negative";
    if (!text && key != "seed") {
      std::optional<std::string> near = nearest(key, {"prompt", "image", "negative", "seed"});
      return bad_line(prompt.where, "unknown key '" + key + "'",
                      near ? "did you mean '" + *near + "'?" : "use prompt, image, negative or seed");
    }
    if (text && !value.is_string()) return bad_line(prompt.where, "'" + key + "' is not a text", "put it in quotes");
    if (key == "seed" && !(value.is_number_unsigned() && value.get<uint64_t>() <= INT64_MAX))
      return bad_line(prompt.where, "'seed' is not an integer from 0", "correct it");
  }
  if (!object->contains("prompt")) return bad_line(prompt.where, "the line has no 'prompt'", "add it");
  prompt.text = (*object)["prompt"];
  if (object->contains("negative")) prompt.negative = (*object)["negative"];
  if (object->contains("seed")) prompt.seed = (*object)["seed"];
  if (object->contains("image")) prompt.image = std::filesystem::path(path).parent_path() / std::string((*object)["image"]);
  return std::nullopt;
}

}  // namespace

std::vector<Prompt> read_prompts(const std::string& path) {
  std::string text = read_file(path).take();
  bool objects = extension_of(path) == "jsonl";
  std::vector<Prompt> prompts;
  std::vector<Error> errors;
  size_t number = 0;
  for (size_t at = 0; at < text.size(); ++number) {
    size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line = trimmed(std::string_view(text).substr(at, end - at));
    at = end + 1;
    if (number == 0 && line.starts_with("\xef\xbb\xbf")) line.remove_prefix(3);
    if (line.empty()) continue;
    Prompt prompt;
    prompt.where = path + ":" + std::to_string(number + 1);
    if (size_t bad = find_bad_utf8(line); bad != std::string_view::npos)
      errors.push_back(bad_line(prompt.where, "byte " + std::to_string(bad + 1) + " of the line is not UTF-8", "save the file as UTF-8"));
    else if (!objects)
      prompt.text = line;
    else if (std::optional<Error> error = read_object(line, number + 1, path, prompt))
      errors.push_back(*error);
    prompts.push_back(std::move(prompt));
  }
  if (!errors.empty()) throw Failure(std::move(errors));
  if (prompts.empty()) fail(bad_line(path, "there is no prompt in it", "write one prompt a line"));
  return prompts;
}

std::vector<PictureRequest> requested_pictures(const std::vector<Prompt>& prompts, const PictureSettings& settings) {
  const std::vector<std::string>& images = settings.images;
  if (images.size() > 1 && images.size() != prompts.size())
    fail({"--image", std::to_string(images.size()) + " images do not pair up with " + std::to_string(prompts.size()) + " prompts",
          "", "give one image per prompt, or one for all", "E6006", Exit::usage});
  std::vector<PictureRequest> pictures;
  for (size_t p = 0; p < prompts.size(); ++p) {
    const Prompt& prompt = prompts[p];
    PictureRequest picture;
    picture.prompt = p;
    picture.text = prompt.text;
    picture.negative = prompt.negative.value_or(settings.negative);
    picture.image = !prompt.image.empty() ? prompt.image : images.empty() ? "" : images[images.size() == 1 ? 0 : p];
    uint64_t first = prompt.seed            ? static_cast<uint64_t>(*prompt.seed)
                     : settings.numbered_seeds ? settings.seed + pictures.size()
                                               : settings.seed;
    for (int64_t i = 0; i < settings.count; ++i) {
      picture.seed = first + static_cast<uint64_t>(i);
      pictures.push_back(picture);
    }
  }
  return pictures;
}

}  // namespace t2i
