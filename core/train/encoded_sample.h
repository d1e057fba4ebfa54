// What a sample's columns were encoded to, made before and read from a cache; and the form in which it is stored there.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "core/checkpoint/safetensors.h"
#include "core/data/loader.h"
#include "core/model/tensors.h"

namespace t2i {

// By column: mean and logvar [1,C,h,w] of a picture, prompt_embeds [1,L,D] and what else the family has of a text; float32
// on the CPU.
struct EncodedSample {
  std::map<std::string, Tensors> columns;
};

// Tensors as they are stored: in bfloat16 or float16 where that is exact (an encoder that is held so gives no more), and
// without the zeros that fill up rows and widths. `alive` keeps what the sources point to.
struct StoredForm {
  std::vector<TensorSource> sources;
  SafetensorsMetadata metadata;
  std::vector<at::Tensor> alive;
};
StoredForm stored_form(const Tensors& tensors);

// The tensors back, bit for bit, copied. Any thread; uses no threads of its own. E8071 where `bytes` are not of that form.
Result<Tensors> from_stored(Bytes bytes, const Path& where);

}  // namespace t2i
