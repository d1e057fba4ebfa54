// A T5 encoder of a folder with its tokenizer.
#pragma once
#include <memory>
#include <mutex>
#include <optional>

#include "latent_family.hpp"
#include "t5_encoder.hpp"
#include "t5_tokenizer.hpp"

namespace t2i {

class T5Part {
 public:
  // The folder's names for model and tokenizer, and what the tokens are called between tokenize and encode_text.
  T5Part(const char* part, const char* tokenizer_folder, const char* tokens)
      : part_(part), tokenizer_folder_(tokenizer_folder), tokens_(tokens) {}

  void read(PartConfigs& parts);  // nothing, where the folder does not have it
  bool there() const { return config_.has_value(); }
  const T5Config& config() const { return *config_; }
  const char* name() const { return part_; }
  void set_length(int64_t length) { length_ = length; }
  int64_t length() const { return length_; }  // of every text, in tokens

  void build(const Scope& scope) { model_ = std::make_unique<T5Encoder>(scope, config()); }
  // Puts the ids [B,length] of the texts. The vocabulary is read on first use.
  void tokenize(const Assets& assets, std::span<const char* const> texts, Sink out);
  Tensor encode(Named in) const { return built(model_, part_)(in[tokens_]); }  // [B,length,width]

 private:
  const char *part_, *tokenizer_folder_, *tokens_;
  std::string shown_folder_;  // the tokenizer's, for messages
  int64_t length_ = 256;
  std::optional<T5Config> config_;
  std::once_flag tokenizer_read_;
  std::unique_ptr<T5Tokenizer> tokenizer_;
  std::unique_ptr<T5Encoder> model_;
};

// What describe() says of it. transformers writes the embedding under two names.
Json t5_text_part();

}  // namespace t2i
