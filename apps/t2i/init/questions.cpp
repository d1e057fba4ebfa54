#include "apps/t2i/init/questions.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>

#include "core/base/json.h"
#include "core/config/knob.h"

namespace t2i {
namespace {

using Texts = std::vector<std::string>;

// The pipeline class of a model's folder; empty where it is none, or in the hub's cache, or not there yet.
std::string pipeline_class(const std::string& folder) {
  auto index = read_json(folder + "/model_index.json");
  return index && index->is_object() ? index->value("_class_name", "") : "";
}

class Interview {
 public:
  Interview(const Talk& talk, const Catalog& catalog, const std::vector<Setting>& given) : talk_(talk), catalog_(catalog), given_(given) {}

  Answers answers;

  // A line, or `standard` where there is nothing on it.
  std::string line(const std::string& question, const std::string& standard) {
    std::optional<std::string> answer = talk_.ask(fmt::format("{} [{}]: ", question, standard));
    if (!answer)
      fail({"t2i init", "the questions were not answered to the end", "Nothing was written", "t2i init --preset NAME asks nothing", "E8044", Exit::usage});
    const size_t from = answer->find_first_not_of(" \t\r"), to = answer->find_last_not_of(" \t\r");
    return from == std::string::npos ? standard : answer->substr(from, to - from + 1);
  }

  // One of `choices`, by name or number.
  std::string choice(const std::string& question, const Texts& choices, const Texts& docs, const std::string& standard) {
    for (size_t i = 0; i < choices.size(); ++i) talk_.say(fmt::format("  {:>2}  {:<24} {}", i + 1, choices[i], docs[i]));
    while (true) {
      std::string answer = line(question, standard);
      if (answer == standard || std::ranges::count(choices, answer)) return answer;
      for (size_t i = 0; i < choices.size(); ++i)
        if (answer == std::to_string(i + 1)) return choices[i];
      auto near = nearest(answer, choices);
      talk_.say(fmt::format("'{}' is none of them{}.", answer, near ? fmt::format("; did you mean {}?", *near) : ""));
    }
  }

  bool is_given(const std::string& key) const {
    return std::ranges::any_of(given_, [&](const Setting& s) { return s.key == key; });
  }

  // The value of a key, under the key's own sentence. What the default says is not written down, unless `always`.
  std::string key(const std::string& key, const std::string& standard, bool always = false) {
    if (is_given(key)) return "";
    const Knob& knob = *find_knob(key);
    talk_.say("\n" + knob.doc);
    while (true) {
      const std::string answer = line(knob.choices.empty() ? key : fmt::format("{} ({})", key, fmt::join(knob.choices, ", ")), standard);
      if (std::string wrong = take(key, answer, always || answer != standard); wrong.empty()) return answer;
      else talk_.say(wrong);
    }
  }

  // Adds the setting; says what is wrong with it instead where its key does not take it.
  std::string take(const std::string& key, const std::string& value, bool write = true) {
    if (!write) return "";
    Setting setting{key, value, key};
    try {
      load_config_text("", "", {setting});
    } catch (const Failure& f) {
      const Error& e = f.errors.front();
      if (e.id == "E1003") return e.what + (e.why.empty() ? "." : ". " + e.why + ".");
    }
    answers.settings.push_back(std::move(setting));
    return "";
  }

  // A component among those that are installed; `own` is what null means.
  std::string component(const std::string& key, const std::string& kind, const std::string& own) {
    if (is_given(key)) return "";
    talk_.say("\n" + find_knob(key)->doc);
    Texts names, docs;
    for (const Offer& o : catalog_.offers)
      if (o.kind == kind) names.push_back(o.id), docs.push_back(o.doc);
    const std::string answer = choice(key, names, docs, own);
    if (answer != own) take(key, answer);
    return answer;
  }

 private:
  const Talk& talk_;
  const Catalog& catalog_;
  const std::vector<Setting>& given_;
};

// Which family: the folder tells where it can be read, else the user.
void ask_family(Interview& interview, const Talk& talk, const Catalog& catalog, const std::string& model) {
  const std::string pipeline = pipeline_class(model);
  for (const Offer& o : catalog.offers)
    if (o.kind == "model" && !pipeline.empty() && std::ranges::count(o.opens, pipeline)) return talk.say(fmt::format("It is a {}: {}.", pipeline, o.doc));
  interview.component("plugin", "model", "as the folder says");
}

}  // namespace

Answers ask_questions(const Talk& talk, const Catalog& catalog, const std::vector<Preset>& presets, const std::vector<Setting>& given,
                      const std::string& file) {
  Interview interview(talk, catalog, given);
  talk.say("Enter takes what stands in brackets; Ctrl-D ends without writing anything.");
  Texts names, docs;
  for (const Preset& p : presets) names.push_back(p.name), docs.push_back(p.doc);
  talk.say("\nA preset to begin with.");
  const std::string chosen = interview.choice("preset", names, docs, "none");
  for (const Preset& p : presets)
    if (p.name == chosen) interview.answers.preset = p;

  Config base;
  if (interview.answers.preset) base = load_config_text(interview.answers.preset->text, interview.answers.preset->path, {});
  auto standard = [&](const std::string& key, const std::string& otherwise) {
    const nlohmann::ordered_json value = find_knob(key)->value(base);
    return value.is_null() ? otherwise : value.is_string() ? value.get<std::string>() : yaml_flow(value);
  };
  const std::string model = interview.key("model.path", standard("model.path", "weights/my-model"), true);
  if (!interview.answers.preset) {
    ask_family(interview, talk, catalog, model);
    interview.component("task", "task", "as the folder says");
  }
  interview.key("data.path", standard("data.path", "my_data"), true);
  if (!interview.answers.preset) {
    interview.key("data.resolution", "null");
    if (const std::string rank = interview.key("lora.rank", "16", true); rank != "null") interview.key("model.quantization", "none");
    interview.key("train.num_train_epochs", "10");
  }
  interview.key("output", standard("output", "runs/first"), true);
  interview.answers.file = file;
  if (file.empty()) {
    talk.say("\nThe configuration's file.");
    interview.answers.file = interview.line("file", (chosen == "none" ? "t2i" : chosen) + ".yaml");
  }
  return std::move(interview.answers);
}

}  // namespace t2i
