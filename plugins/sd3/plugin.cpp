#include "sd3.hpp"

T2I_PLUGIN("t2i.model.sd3", "0.1.0", "Apache-2.0",
           t2i::model<sd3::Sd3>("sd3", "Stable Diffusion 3 and 3.5", R"({
  "clip_skip": {"type": "integer", "default": null, "minimum": 0,
                "description": "how many more of the CLIP models' last layers are left out; the last one always is"},
  "t5_length": {"type": "integer", "default": 256, "minimum": 1, "maximum": 512,
                "description": "how many tokens of a text the T5 encoder sees, or how many zeros stand for it where it is left out"}})",
                                "StableDiffusion3Pipeline"))
