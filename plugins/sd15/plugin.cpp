#include "sd15.hpp"

T2I_PLUGIN("t2i.model.sd15", "0.1.0", "Apache-2.0",
           t2i::model<sd15::Sd15>("sd15", "Stable Diffusion 1.x and models of its shape", R"({
  "clip_skip": {"type": "integer", "default": null, "minimum": 0,
                "description": "how many of the text encoder's last layers are left out"}})",
                                  "StableDiffusionPipeline StableDiffusionInstructPix2PixPipeline"))
