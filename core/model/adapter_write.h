// An adapter's tensors under the names of other programs; docs/adapters.md has the forms.
#pragma once
#include <deque>
#include <vector>

#include "core/checkpoint/safetensors.h"
#include "core/model/adapter_load.h"
#include "core/model/params.h"

namespace t2i {

struct AdapterTensors {
  std::vector<TensorSource> sources;  // point into `alive`
  std::deque<at::Tensor> alive;
};

// peft's names behind the part's, as diffusers reads them: "unet.LAYER.lora_A.weight". Not ".lora.down.weight", which
// diffusers writes for some layers of a UNet: of a file with both kinds it reads those of the first name's kind alone. The
// scale is multiplied into B, so that a reader who looks for no alpha has it right.
AdapterTensors peft_form(const std::vector<LayerAdapter>& layers);

// kohya's and ComfyUI's names: "lora_unet_LAYER.lora_down.weight" with ".alpha". LAYER is the single file's name
// of the denoiser where `by_file`, else the model's own. Layers that are one tensor there become one, block by block, of the sum of
// their ranks. `store`: of the weights, whose lengths a DoRA of only some of such layers needs.
AdapterTensors kohya_form(const std::vector<LayerAdapter>& layers, bool by_file, const ParamStore& store);

// SHA-256 of the file's data without its header, by which other programs know an adapter.
std::string data_hash(const std::vector<TensorSource>& sources);

}  // namespace t2i
