#include "t5_files.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "sentencepiece_model.hpp"

namespace t2i {
namespace {

constexpr int64_t unknown = 2;  // of every T5 vocabulary: <pad>, </s>, <unk>, then the pieces

std::string from_base64(std::string_view text, const std::string& where) {
  std::string out;
  out.reserve(text.size() / 4 * 3);
  uint32_t bits = 0, count = 0;
  const std::string_view letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::array<int8_t, 256> values;
  values.fill(-1);
  for (size_t i = 0; i < letters.size(); ++i) values[static_cast<unsigned char>(letters[i])] = static_cast<int8_t>(i);
  size_t padding = text.ends_with("==") ? 2 : text.ends_with("=") ? 1 : 0;
  for (size_t i = 0; i < text.size() - padding; ++i) {
    int8_t value = values[static_cast<unsigned char>(text[i])];
    if (value < 0 || text.size() % 4 != 0)
      fail(where + " is not base64. → Restore the tokenizer's file of the published model.");
    bits = bits << 6 | static_cast<uint32_t>(value), count += 6;
    if (count >= 8) out += static_cast<char>(bits >> (count -= 8) & 0xff);
  }
  return out;
}

[[noreturn]] void unsupported(const std::string& where, const Json& value, const std::string& wanted) {
  std::string text = value.is_null() ? "not there" : value.dump();
  if (text.size() > 200) text = text.substr(0, 200) + "…";
  fail(where + " is " + text + "; supported: " + wanted + ". → Take the tokenizer of the published model.",
       T2I_E_UNSUPPORTED);
}

// The steps of a pipeline's stage: itself, or what a Sequence holds under `key`.
std::vector<Json> steps(const Json& stage, const char* key, const std::string& where) {
  if (stage.is_null()) return {};
  if (stage.is_object() && stage.value("type", "") == "Sequence" && stage.contains(key) && stage[key].is_array())
    return stage[key].get<std::vector<Json>>();
  if (!stage.is_object()) unsupported(where, stage, "an object with 'type'");
  return {stage};
}

// The table of the first Precompiled step. Others may stand beside it that only take spaces away: between words T5
// looks at none of them.
Charsmap read_normalizer(const Json& stage, const std::string& file) {
  std::optional<Charsmap> table;
  for (const Json& step : steps(stage, "normalizers", file + ": 'normalizer'")) {
    const std::string type = step.is_object() ? step.value("type", "") : "", where = file + ": 'normalizer'";
    const Json pattern = step.is_object() ? step.value("pattern", Json()) : Json(), spaces = {{"Regex", " {2,}"}};
    const Json in_place = step.is_object() ? step.value("content", Json()) : Json();
    if (type == "Precompiled") {
      const Json bytes = step.value("precompiled_charsmap", Json());
      if (!bytes.is_string()) unsupported(file + ": 'normalizer.precompiled_charsmap'", bytes, "a table in base64");
      const std::string name = file + ": 'normalizer.precompiled_charsmap'";
      if (!table) table.emplace(from_base64(bytes.get_ref<const std::string&>(), name), file);
    } else if (type != "Strip" && !(type == "Replace" && pattern == spaces && (in_place == " " || in_place == "▁"))) {
      unsupported(where, step, "Precompiled, Strip, Replace of several spaces by one");
    }
  }
  return table.value_or(Charsmap());
}

void check_pipeline(const Json& whole, const std::string& file) {
  ConfigReader c(whole, file);
  c.harmless({"version", "truncation", "padding", "added_tokens", "decoder", "model", "normalizer"});
  const Json *words = c.raw("pre_tokenizer"), *frame = c.raw("post_processor");
  c.done();
  bool marks_words = false;
  const Json words_stage = words ? *words : Json();
  for (const Json& step : steps(words_stage, "pretokenizers", file + ": 'pre_tokenizer'")) {
    const std::string type = step.is_object() ? step.value("type", "") : "";
    bool marks = type == "Metaspace" && step.value("replacement", "") == "▁" &&
                 step.value("prepend_scheme", "always") != "never" && step.value("add_prefix_space", true);
    if (!marks && type != "WhitespaceSplit")
      unsupported(file + ": 'pre_tokenizer'", step, "WhitespaceSplit, Metaspace with '▁'");
    marks_words |= marks;
  }
  if (!marks_words) unsupported(file + ": 'pre_tokenizer'", words_stage, "WhitespaceSplit, Metaspace with '▁'");
  const Json frame_stage = frame ? *frame : Json();
  const Json text = frame_stage.is_object() ? frame_stage.value("single", Json()) : Json();
  if (!text.is_array() || text.size() != 2 || !text[0].contains("Sequence") || !text[1].contains("SpecialToken"))
    unsupported(file + ": 'post_processor'", frame_stage, "TemplateProcessing of the text and an end");
}

std::vector<Unigram::Piece> read_pieces(const Json& model, const std::string& file) {
  ConfigReader c(model, file, "model.");
  c.choice("type", "", {"Unigram"});
  c.only("unk_id", nullptr, {unknown});
  c.only("byte_fallback", false, {false});
  const Json* list = c.raw("vocab");
  c.done();
  std::vector<Unigram::Piece> pieces;
  if (!list || !list->is_array())
    unsupported(file + ": 'model.vocab'", list ? *list : Json(), "a list of pieces with scores");
  pieces.reserve(list->size());
  for (const Json& p : *list) {
    if (!p.is_array() || p.size() != 2 || !p[0].is_string() || !p[1].is_number() ||
        p[0].get_ref<const std::string&>().empty())
      unsupported(file + ": 'model.vocab[" + std::to_string(pieces.size()) + "]'", p, "a piece and its score");
    pieces.push_back({p[0].get<std::string>(), p[1].get<double>()});
  }
  return pieces;
}

T5Files read_all(const TokenizerFolder& folder) {
  T5Files f;
  std::vector<Unigram::Piece> pieces;
  Json defaults = {{"eos_token", "</s>"}, {"unk_token", "<unk>"}, {"pad_token", "<pad>"}, {"extra", Json::array()}};
  const Json ids = folder.config.value("extra_ids", Json(100));
  if (!ids.is_number_integer() || ids < 0 || ids > 100000)
    unsupported(folder.path("tokenizer_config.json") + ": 'extra_ids'", ids, "an integer from 0 up");
  const auto extra_ids = ids.get<int64_t>();
  std::string file = folder.path("tokenizer.json");
  if (folder.whole.is_object()) {
    check_pipeline(folder.whole, file);
    f.charsmap = read_normalizer(folder.whole.value("normalizer", Json()), file);
    pieces = read_pieces(folder.whole.value("model", Json()), file);
  } else {
    std::string_view bytes;
    for (const char* name : {"tokenizer.model", "spiece.model"})
      if (!bytes.data()) bytes = folder.bytes(name), file = folder.path(name);
    if (!bytes.data())
      fail(folder.name + ": no T5 tokenizer here: neither tokenizer.json nor spiece.model. → Copy the folder '" +
               folder.name + "' of the published model.",
           T2I_E_MISSING);
    SentencePieceModel m = read_sentencepiece_model(bytes, file);
    if (m.algorithm != 1) unsupported(file + ": 'trainer_spec.model_type'", m.algorithm, "1 (unigram)");
    if (m.unknown != unknown) unsupported(file + ": 'trainer_spec.unk_id'", m.unknown, std::to_string(unknown));
    if (m.byte_fallback) unsupported(file + ": 'trainer_spec.byte_fallback'", true, "false");
    for (SentencePieceModel::Piece& p : m.pieces) {
      if (p.type == SentencePieceModel::control || p.type == SentencePieceModel::user_defined)
        defaults["extra"].push_back(
            {{"content", p.text}, {"special", p.type == SentencePieceModel::control}, {"normalized", false}});
      pieces.push_back({std::move(p.text), p.score});
    }
    f.charsmap = Charsmap(m.charsmap, file);
    for (int64_t i = extra_ids; i-- > 0;) pieces.push_back({"<extra_id_" + std::to_string(i) + ">", 0});
  }
  if (static_cast<int64_t>(pieces.size()) <= unknown)
    fail(file + ": it has " + std::to_string(pieces.size()) +
         " pieces; wanted <pad>, </s>, <unk> and a text's pieces.");
  for (const Unigram::Piece& p : pieces)
    if (!std::isfinite(p.score))
      fail(file + ": piece '" + p.text + "' has a score that is not finite. → Restore the file.");
  for (int64_t i = 0; i < extra_ids; ++i) defaults["extra"].push_back("<extra_id_" + std::to_string(i) + ">");

  SpecialTokens specials(folder, std::move(defaults));
  f.highest = static_cast<int64_t>(pieces.size()) - 1;
  f.unigram = Unigram(std::move(pieces), unknown);
  specials.number([&](const std::string& t) { return f.unigram.find(t); }, f.highest + 1);
  f.end = specials.id("eos_token"), f.padding = specials.id("pad_token");
  f.added = last_of_each_number(specials.added());
  for (const AddedToken& t : f.added) f.highest = std::max(f.highest, t.id);
  f.sides = read_sides(folder, {"extra_ids", "unk_id", "sp_model_kwargs"});
  return f;
}

}  // namespace

T5Files read_t5_files(const ReadFile& read, const std::string& folder) {
  return with_folder_in_errors(folder, [&] { return read_all(TokenizerFolder(read, folder)); });
}

}  // namespace t2i
