#include "core/publish/hub.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <signal.h>

#include <algorithm>
#include <cstdlib>
#include <regex>

#include "core/base/file.h"
#include "core/base/version.h"
#include "core/publish/child.h"

namespace fs = std::filesystem;

namespace t2i {
namespace {

Path final_of(const Config& config) { return Path(config.output) / "final"; }

// What a person would type in a shell.
std::string quoted(const std::string& word) {
  static const std::regex plain("[A-Za-z0-9_./=:@%+-]+");
  if (std::regex_match(word, plain)) return word;
  std::string out = "'";
  for (char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

std::vector<std::string> upload_command(const Config& config, int64_t steps) {
  return {"hf", "upload", config.hub.repo, final_of(config).string(), ".", config.hub.is_private ? "--private" : "--no-private",
          "--commit-message", fmt::format("t2i: {} steps", steps)};
}

// Of several lines the last that says something; hf ends a long story with "Error: …".
std::string last_words(const std::vector<std::string>& heard) {
  for (auto line = heard.rbegin(); line != heard.rend(); ++line)
    if (line->find("rror") != line->npos) return *line;
  for (auto line = heard.rbegin(); line != heard.rend(); ++line)
    if (line->find_first_not_of(" \t") != line->npos) return *line;
  return "It said nothing";
}

// The folder of the newest validation pictures.
Path newest_pictures(const Path& run) {
  std::vector<Path> steps;
  std::error_code error;
  for (fs::directory_iterator at(run / "validation_images", error), end; !error && at != end; at.increment(error))
    if (at->path().filename().string().starts_with("step-")) steps.push_back(at->path());
  return steps.empty() ? Path() : *std::max_element(steps.begin(), steps.end());
}

}  // namespace

std::vector<Error> check_hub(const Config& config) {
  std::vector<Error> out;
  if (config.hub.repo.empty()) return out;
  static const std::regex name("([A-Za-z0-9][A-Za-z0-9._-]*/)?[A-Za-z0-9][A-Za-z0-9._-]*");
  auto at = config.positions.find("hub.repo");
  if (!std::regex_match(config.hub.repo, name) || config.hub.repo.size() > 96)
    out.push_back({at == config.positions.end() ? "hub.repo" : at->second, fmt::format("'{}' is not the name of a repository", config.hub.repo), "",
                   "write it as org/name, of letters, digits, '-', '_' and '.'", "E8013", Exit::config});
  if (find_program("hf").empty())
    out.push_back({"hub.repo", "is set and the program hf is not on PATH", "It uploads final/ when the run is done", "pip install huggingface_hub, or leave hub.repo out",
                   "E8012", Exit::missing});
  return out;
}

std::string login_notice(const Config& config) {
  if (config.hub.repo.empty()) return "";
  auto set = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value ? value : "");
  };
  std::string home = set("HF_HOME");
  if (home.empty()) home = (set("XDG_CACHE_HOME").empty() ? set("HOME") + "/.cache" : set("XDG_CACHE_HOME")) + "/huggingface";
  const std::string file = set("HF_TOKEN_PATH").empty() ? home + "/token" : set("HF_TOKEN_PATH");
  std::error_code none;
  if (!set("HF_TOKEN").empty() || !set("HUGGING_FACE_HUB_TOKEN").empty() || fs::exists(file, none)) return "";
  return fmt::format("nobody is logged in for the upload to {} when the run is done: hf auth login", config.hub.repo);
}

CardFacts card_facts(const Config& config, const std::string& base_folder, int64_t steps, bool edits) {
  CardFacts facts;
  std::error_code none;
  const std::string& path = config.model.path;
  static const std::regex hub_name("[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*"), cached("models--([A-Za-z0-9._-]+?)--([A-Za-z0-9._-]+)/snapshots/");
  std::smatch found;
  if (std::regex_search(base_folder, found, cached) || std::regex_search(path, found, cached)) {
    facts.base_model = fmt::format("{}/{}", found[1].str(), found[2].str()), facts.base_is_on_hub = true;
  } else if (std::regex_match(path, hub_name) && !fs::exists(path, none)) {
    facts.base_model = path, facts.base_is_on_hub = true;
  } else {
    facts.base_model = Path(path).lexically_normal().filename().string();
    if (facts.base_model.empty()) facts.base_model = Path(path).lexically_normal().parent_path().filename().string();
  }
  facts.repo = config.hub.repo, facts.version = version, facts.steps = steps, facts.edits = edits;
  facts.adapter = config.lora.rank.has_value();
  facts.prompts = config.validation.prompts;
  facts.settings = settings_for_card(config);
  if (!config.hub.license.empty()) {
    facts.license = config.hub.license;
  } else if (Result<std::string> readme = read_file(Path(base_folder) / "README.md", 4 << 20)) {
    License license = license_of_card(*readme);
    facts.license = license.id, facts.license_name = license.name, facts.license_link = license.link;
  }
  return facts;
}

void write_card(const Config& config, CardFacts facts) {
  const Path folder = final_of(config);
  std::error_code none;
  if (fs::exists(fs::symlink_status(folder / "README.md", none))) return;
  const Path pictures = newest_pictures(config.output);
  for (size_t i = 0; i < facts.prompts.size(); ++i) {
    Result<std::string> png = pictures.empty() ? Result<std::string>(std::string()) : read_file(pictures / fmt::format("{:03}-0.png", i), 64 << 20);
    if (!png || png->empty()) break;
    make_folders(folder / "samples");
    const std::string name = fmt::format("samples/{:03}.png", i);
    write_file(folder / name, as_bytes(*png));
    facts.pictures.push_back(name);
  }
  write_file(folder / "README.md", as_bytes(model_card(facts)));
}

std::optional<Error> upload_final(const Config& config, int64_t steps, std::string& address, const std::function<bool()>& stop) {
  const std::vector<std::string> command = upload_command(config, steps);
  std::vector<std::string> words, heard;
  for (const std::string& word : command) words.push_back(quoted(word));
  auto failed = [&](const std::string& what, const std::string& why) {
    return Error{"hub.repo", fmt::format("{} is not uploaded to {}: {}", final_of(config).string(), config.hub.repo, what), why,
                 fmt::format("the run is done and final/ is whole: {}; or give the same command again", fmt::join(words, " ")), "E8014", Exit::io};
  };
  try {
    Child child(command);
    child.close_input();
    std::optional<int> code;
    while (!code && !(stop && stop())) code = child.wait(3600, heard, stop);
    if (!code) {
      child.signal(SIGINT);
      child.wait(10, heard);
      return failed("it was asked to stop", "");
    }
    if (*code != 0) return failed(fmt::format("hf ended with {}", *code), last_words(heard));
  } catch (const Failure& f) {
    return failed(f.what(), "");
  }
  static const std::regex link("https?://[^\\s'\"]+");
  address = config.hub.repo;
  for (const std::string& line : heard)
    if (std::smatch found; std::regex_search(line, found, link)) address = found.str();
  return std::nullopt;
}

}  // namespace t2i
