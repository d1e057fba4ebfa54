// A CLIP text model of a folder with its tokenizer, as families that have one or several of them use it.
#pragma once
#include <memory>
#include <mutex>
#include <optional>

#include "clip_text.hpp"
#include "clip_tokenizer.hpp"
#include "latent_family.hpp"

namespace t2i {

class ClipPart {
 public:
  // The folder's names for model and tokenizer, and what the tokens are called between tokenize and encode_text.
  ClipPart(const char* part, const char* tokenizer_folder, const char* tokens)
      : part_(part), tokenizer_folder_(tokenizer_folder), tokens_(tokens) {}

  // Nothing, where the folder does not have it. `or_else` as PartConfigs::read has it.
  void read(PartConfigs& parts, const char* class_name, const char* or_else = "");
  bool there() const { return config_.has_value(); }
  const ClipTextConfig& config() const { return *config_; }
  const char* name() const { return part_; }

  void build(const Scope& scope, bool with_projection);
  // Puts the ids [B,L] of the texts. The vocabulary is read on first use: commands that never see a text need not parse it.
  void tokenize(const Assets& assets, std::span<const char* const> texts, Sink out);
  ClipText::Output encode(Named in, const ClipText::Wanted& wanted) const;
  // For describe(): patterns of the parameters that encode() with this never reads.
  Json unused(const ClipText::Wanted& wanted) const;

 private:
  const char *part_, *tokenizer_folder_, *tokens_;
  std::string shown_folder_;  // the tokenizer's, for messages
  std::optional<ClipTextConfig> config_;
  std::once_flag tokenizer_read_;
  std::unique_ptr<ClipTokenizer> tokenizer_;
  std::unique_ptr<ClipText> model_;
};

}  // namespace t2i
