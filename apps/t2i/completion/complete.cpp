#include "apps/t2i/completion/complete.h"

#include <fmt/format.h>

#include <algorithm>

#include "apps/t2i/init/presets.h"
#include "apps/t2i/schema.h"
#include "core/config/knob.h"

namespace t2i {
namespace {

class Completer {
 public:
  explicit Completer(const Texts& typed) : typed_(typed), current_(typed.empty() ? "" : typed.back()) {}

  Completion run() {
    if (typed_.size() < 2) return first_word();
    for (const Command& command : commands())
      if (command.name == typed_[0]) return argument(command), std::move(out_);
    return {};
  }

 private:
  const Texts& typed_;
  const std::string current_;
  Completion out_;
  std::string before_;  // of the current word, what stays as it is: "--set="

  void word(const std::string& text, const std::string& doc) {
    if (std::string whole = before_ + text; whole.starts_with(current_)) out_.words.push_back({whole, doc});
  }
  void words(const Texts& all) {
    for (const std::string& text : all) word(text, "");
  }
  void paths(Completion::Paths kind, const std::string& more = "") { out_.paths = kind, out_.prefix = before_ + more; }

  Completion first_word() {
    for (const Command& command : commands()) word(command.name, command.doc);
    if (current_.starts_with('-')) word("--help", "print what there is"), word("--version", "print the version");
    return std::move(out_);
  }

  // An option's value, an option, or what stands without a name.
  void argument(const Command& command) {
    const Declared declared = declared_by(command);
    auto option_of = [&](const std::string& word) -> const DeclaredOption* {
      for (const DeclaredOption& o : declared.options)
        if (word == "--" + o.name && !o.value.empty()) return &o;
      return nullptr;
    };
    const size_t equals = current_.find('=');
    if (current_.starts_with("--") && equals != std::string::npos) {
      if (const DeclaredOption* o = option_of(current_.substr(0, equals))) before_ = current_.substr(0, equals + 1), value(*o);
      return;
    }
    if (const DeclaredOption* o = option_of(typed_[typed_.size() - 2])) return value(*o);
    if (current_.starts_with('-')) {
      for (const DeclaredOption& o : declared.options) word("--" + o.name, o.doc);
      return word("--help", "print all options");
    }
    if (declared.positional.name.empty()) return;
    const bool first = std::none_of(typed_.begin() + 1, typed_.end() - 1, [](const std::string& w) { return !w.starts_with('-'); });
    if (first && !declared.positional.choices.empty()) return words(declared.positional.choices);
    if (typed_.size() == 3 && typed_[1] == "info") return components(read_catalog());
    paths(Completion::Paths::files);
  }

  void components(const Catalog& catalog, const std::string& kind = "") {
    for (const Offer& o : catalog.offers)
      if (kind.empty() || o.kind == kind) word(o.id, o.doc);
  }

  void value(const DeclaredOption& option) {
    if (!option.choices.empty()) return words(option.choices);
    if (option.name == "set") return setting();
    if (option.name == "allow-change")
      for (const Knob& knob : knobs()) word(knob.key, knob.doc);
    if (option.name == "plugin" || option.name == "task" || option.name == "loss")
      return components(read_catalog(), option.name == "plugin" ? "model" : option.name);
    if (option.name == "preset")
      for (const Preset& preset : installed_presets()) word(preset.name, preset.doc);
    auto says = [&](const char* part) { return option.value.find(part) != std::string::npos; };
    if (option.value == "DIR") return paths(option.name == "model" || option.name == "data" ? Completion::Paths::files : Completion::Paths::folders);
    if (says("FILE") || says("PATH") || says(".safetensors") || says("RUN")) paths(Completion::Paths::files);
  }

  // KEY=VALUE
  void setting() {
    const std::string typed = current_.substr(before_.size());
    const size_t equals = typed.find('=');
    const Catalog catalog = read_catalog();
    if (equals == std::string::npos) {
      for (const Knob& knob : knobs()) word(knob.key + (knob.type == KnobType::map ? "." : "="), knob.doc);
      for (const Offer& o : catalog.offers)
        for (const auto& [name, option] : o.options.items())
          if (find_knob(key_of_kind(o.kind)))
            word(fmt::format("{}.{}=", key_of_kind(o.kind), name), fmt::format("{}: {}", o.id, option.value("description", "")));
      std::ranges::sort(out_.words, {}, &Completion::Word::text);
      auto again = std::ranges::unique(out_.words, {}, &Completion::Word::text);
      out_.words.erase(again.begin(), again.end());
      out_.goes_on = !out_.words.empty();
      return;
    }
    const std::string key = typed.substr(0, equals), chosen = key.ends_with(".name") ? section_of(key) : key;
    before_ += typed.substr(0, equals + 1);
    if (const Knob* knob = find_knob(chosen); knob && knob->type == KnobType::component) return components(catalog, chosen == "plugin" ? "model" : chosen);
    if (const Knob* knob = find_knob(key)) return knob_value(*knob);
    for (const Offer& o : catalog.offers)
      if (key_of_kind(o.kind) == section_of(key) && o.options.contains(leaf_of(key))) return option_value(o.options[leaf_of(key)]);
  }

  void knob_value(const Knob& knob) {
    if (!knob.choices.empty()) words(knob.choices);
    else if (knob.type == KnobType::boolean) words({"true", "false"});
    else if (knob.type == KnobType::text) paths(Completion::Paths::files);
    if (knob.nullable && knob.type != KnobType::text) word("null", "");
  }

  void option_value(const nlohmann::json& option) {
    if (option.value("type", "") == "boolean") words({"true", "false"});
    if (option.contains("enum"))
      for (const auto& choice : option["enum"]) word(choice.is_string() ? choice.get<std::string>() : choice.dump(), "");
  }
};

}  // namespace

Completion complete(const Texts& typed) { return Completer(typed).run(); }

std::string to_text(const Completion& completion) {
  std::string text;
  for (const Completion::Word& w : completion.words) text += w.doc.empty() ? w.text + "\n" : fmt::format("{}\t{}\n", w.text, w.doc);
  if (completion.paths != Completion::Paths::none)
    text += fmt::format(":{}\t{}\n", completion.paths == Completion::Paths::files ? "files" : "folders", completion.prefix);
  return completion.goes_on ? text + ":nospace\n" : text;
}

}  // namespace t2i
