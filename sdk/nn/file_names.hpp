// What single files call the parameters of the parts that families share, in the form of sdk/NAMES.md, file_names(): the
// names of the latent diffusion code (Rombach et al. 2022) for UNet and autoencoder, of CLIP and OpenCLIP for text models.
#pragma once
#include <t2i/t2i.hpp>

#include <string>
#include <vector>

#include "autoencoder_kl.hpp"
#include "clip_text.hpp"
#include "unet_config.hpp"

namespace t2i {

// One form of a part's names, collected row by row.
class FileForm {
 public:
  explicit FileForm(std::vector<std::string> prefixes) : prefixes_(std::move(prefixes)) {}
  // The tensor `file` holds that parameter; names that end in '.' are those of a layer.
  FileForm& row(const std::string& file, const std::string& parameter, const char* change = nullptr);
  // The parameters one behind another, by rows.
  FileForm& joined(const std::string& file, const std::vector<std::string>& parameters);
  FileForm& ignore(const std::vector<std::string>& tensors);
  Json json() const { return {{"prefixes", prefixes_}, {"tensors", rows_}, {"ignored", ignored_}}; }

 private:
  std::vector<std::string> prefixes_, ignored_;
  Json rows_ = Json::array();
};

// Lists of forms, empty where no such file exists of a network of this kind.
Json unet_file_names(const UnetConfig& config);
Json autoencoder_file_names(const AutoencoderConfig& config, const std::vector<std::string>& prefixes);
// CLIP under transformers' names. `projection`: none, one that is in the file, or one that is left out where it is the
// identity.
enum class FileProjection { none, there, identity };
FileForm clip_file_form(const std::vector<std::string>& prefixes, FileProjection projection);
FileForm open_clip_file_form(const ClipTextConfig& config, const std::vector<std::string>& prefixes, bool with_projection);
Json t5_file_names(const std::vector<std::string>& prefixes);

}  // namespace t2i
