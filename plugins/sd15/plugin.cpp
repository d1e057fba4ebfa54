#include "sd15.hpp"

T2I_PLUGIN("t2i.model.sd15", "0.1.0", "Apache-2.0",
           t2i::model<sd15::Sd15>("sd15", "Stable Diffusion 1.x and models of its shape", R"({
  "clip_skip": {"type": "integer", "default": null, "minimum": 0,
                "description": "how many of the text encoder's last layers are left out"},
  "project_text": {"type": "boolean", "default": false,
                   "description": "train a linear layer between a text encoder and a UNet of different widths; false: they must fit"},
  "t5_length": {"type": "integer", "default": null, "minimum": 2,
                "description": "tokens of a text where the text encoder is a T5; null: the tokenizer's model_max_length, 77 where it sets none"}})",
                                  "StableDiffusionPipeline StableDiffusionInstructPix2PixPipeline"))
