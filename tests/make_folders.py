"""Small random model folders, written by diffusers and transformers themselves, for tests to compare with.

    folder = make_sd15(path, seed=1, unet={"layers_per_block": 2}, tokenizer="published")

Every weight is random, those of norms too: a tensor loaded into the wrong place shows. Returns the pipeline that was
saved, in float32.
"""

import functools
import json
import os
import shutil

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer, T5Config, T5EncoderModel, T5Tokenizer
from diffusers import (AutoencoderKL, DDIMScheduler, EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler,
                       FluxControlPipeline, FluxPipeline, FluxTransformer2DModel,
                       SD3Transformer2DModel, StableDiffusion3Pipeline, StableDiffusionInstructPix2PixPipeline,
                       StableDiffusionPipeline, StableDiffusionXLImg2ImgPipeline,
                       StableDiffusionXLInstructPix2PixPipeline, StableDiffusionXLPipeline, UNet2DConditionModel)

START, END = "<|startoftext|>", "<|endoftext|>"
CORPUS = """a photo of an astronaut riding a horse on the moon, a painting of a castle at dusk, highly detailed, 4k
make it snow, turn the cat into a dog, add a red border, it's the artist's own house, they'll say we've seen what I'd draw
un été à la plage, çà et là, naïve café, größer straße, el niño pequeño, привет мир как дела, こんにちは世界, 日本語のテキスト
안녕하세요 세계, नमस्ते दुनिया, γειά σου κόσμε, 🙂🙃🦄 party 🎉🎉, 1 2 3 1024x768 50% off!!! (the (quick) [brown] {fox}) ...
""".splitlines()
WORDS = r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""


@functools.cache  # the trainer breaks ties another way each time
def vocabulary(size=700):
    """A byte-level vocabulary with CLIP's end-of-word mark, and the merges that tokenizers' own trainer finds."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    t = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    t.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(WORDS), "removed", invert=True),
                                               pre_tokenizers.ByteLevel(add_prefix_space=False)])
    t.train_from_iterator(CORPUS * 3, trainers.BpeTrainer(vocab_size=1000, initial_alphabet=alphabet,
                                                          end_of_word_suffix="</w>", show_progress=False))
    vocab = {token: i for i, token in enumerate(alphabet + [a + "</w>" for a in alphabet])}
    merges = []
    for pair in json.loads(t.to_str())["model"]["merges"]:
        left, right = pair if isinstance(pair, list) else pair.split(" ")
        if left in vocab and right in vocab and len(vocab) < size - 2:
            merges.append((left, right))
            vocab.setdefault(left + right, len(vocab))
    for special in (START, END):
        vocab[special] = len(vocab)
    return vocab, merges


def added(content, normalized=True, **flags):
    """A special token as transformers 4 wrote it."""
    return {"content": content, "lstrip": False, "normalized": normalized, "rstrip": False, "single_word": False, **flags}


# tokenizer_config.json and special_tokens_map.json of the published Stable Diffusion 1.5.
PUBLISHED = {"add_prefix_space": False, "bos_token": {"__type": "AddedToken", **added(START)}, "do_lower_case": True,
             "eos_token": {"__type": "AddedToken", **added(END)}, "errors": "replace", "model_max_length": 77,
             "name_or_path": "openai/clip-vit-large-patch14", "pad_token": END,
             "special_tokens_map_file": "./special_tokens_map.json", "tokenizer_class": "CLIPTokenizer",
             "unk_token": {"__type": "AddedToken", **added(END)}}
SPECIALS = {"bos_token": added(START), "eos_token": added(END), "pad_token": END, "unk_token": added(END)}


def write_tokenizer(folder, config=PUBLISHED, specials=SPECIALS, added_tokens=None):
    """The published form: vocab.json and merges.txt. Returns transformers' tokenizer of it."""
    os.makedirs(folder, exist_ok=True)
    vocab, merges = vocabulary()
    files = {"vocab.json": vocab, "tokenizer_config.json": config, "special_tokens_map.json": specials,
             "added_tokens.json": added_tokens}
    for name, content in files.items():
        if content is not None:
            with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
                json.dump(content, f, ensure_ascii=False)
    with open(os.path.join(folder, "merges.txt"), "w", encoding="utf-8") as f:
        f.write("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    return CLIPTokenizer.from_pretrained(folder)


UNET = dict(sample_size=8, block_out_channels=(32, 64), layers_per_block=1, norm_num_groups=8, cross_attention_dim=32,
            attention_head_dim=4, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"))
VAE = dict(block_out_channels=(16, 32), norm_num_groups=8, layers_per_block=1, latent_channels=4, sample_size=16,
           down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2)
TEXT = dict(vocab_size=700, hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4,
            max_position_embeddings=77, bos_token_id=0, eos_token_id=2, pad_token_id=1)
SCHEDULER = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
                 set_alpha_to_one=False, steps_offset=1)


def randomise(module, seed):
    """Every parameter moved off its initial value, by a tenth of its own spread at least."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(torch.randn(p.shape, generator=generator) * max(0.05, 0.1 * float(p.std()) if p.numel() > 1 else 0))
    return module.eval()


def published_names(folder):
    """Renames what published folders name otherwise than today's libraries do: the text encoder's prefix and its buffer
    of positions, the attention of the VAE."""
    path = os.path.join(folder, "text_encoder", "model.safetensors")
    tensors = {"text_model." + name.removeprefix("text_model."): t for name, t in load_file(path).items()}
    positions = tensors["text_model.embeddings.position_embedding.weight"].shape[0]
    tensors["text_model.embeddings.position_ids"] = torch.arange(positions)[None]
    save_file(tensors, path, {"format": "pt"})
    path = os.path.join(folder, "vae", "diffusion_pytorch_model.safetensors")
    before = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    tensors = {}
    for name, t in load_file(path).items():
        for new, old in before.items():
            name = name.replace(new, old)
        tensors[name] = t
    save_file(tensors, path, {"format": "pt"})


def make_sd15(folder, seed=0, unet={}, vae={}, text={}, scheduler={}, tokenizer="json", names="today"):
    """tokenizer: "json" (tokenizer.json alone, as transformers 5 writes it) or "published" (vocab.json, merges.txt).
    names: "today" (as the installed libraries write them) or "published"."""
    torch.manual_seed(seed)
    shutil.rmtree(folder, ignore_errors=True)
    tok = write_tokenizer(os.path.join(folder, "tokenizer"))
    parts = dict(unet=randomise(UNet2DConditionModel(**{**UNET, **unet}), seed + 1),
                 vae=randomise(AutoencoderKL(**{**VAE, **vae}), seed + 2),
                 text_encoder=randomise(CLIPTextModel(CLIPTextConfig(**{**TEXT, **text})), seed + 3),
                 tokenizer=tok, scheduler=DDIMScheduler(**{**SCHEDULER, **scheduler}))
    kind = StableDiffusionInstructPix2PixPipeline if parts["unet"].config.in_channels == 8 else StableDiffusionPipeline
    pipeline = kind(**parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    shutil.rmtree(folder)
    pipeline.save_pretrained(folder)
    if tokenizer == "published":
        shutil.rmtree(os.path.join(folder, "tokenizer"))
        write_tokenizer(os.path.join(folder, "tokenizer"))
    if names == "published":
        published_names(folder)
    return pipeline


# Of both text models the last layer is left out, so their widths together are the UNet's context.
UNET_XL = {**UNET, "cross_attention_dim": 56, "addition_embed_type": "text_time", "addition_time_embed_dim": 8,
           "projection_class_embeddings_input_dim": 20 + 6 * 8, "transformer_layers_per_block": [1, 2],
           "use_linear_projection": True}
EULER = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="leading", steps_offset=1)
TEXT_2 = {**TEXT, "hidden_size": 24, "intermediate_size": 40, "projection_dim": 20, "hidden_act": "gelu"}


def make_sdxl(folder, seed=0, unet={}, vae={}, text={}, text_2={}, scheduler={}, refiner=False, zeros=True):
    """`refiner`: without the first text model. The second tokenizer fills up with "!", as the published one does."""
    torch.manual_seed(seed)
    shutil.rmtree(folder, ignore_errors=True)
    fills = {**PUBLISHED, "pad_token": "!"}
    toks = [write_tokenizer(os.path.join(folder, "tokenizer")),
            write_tokenizer(os.path.join(folder, "tokenizer_2"), fills, {**SPECIALS, "pad_token": "!"})]
    if refiner:
        unet = {"cross_attention_dim": 24, "projection_class_embeddings_input_dim": 20 + 5 * 8, **unet}
    parts = dict(unet=randomise(UNet2DConditionModel(**{**UNET_XL, **unet}), seed + 1),
                 vae=randomise(AutoencoderKL(**{**VAE, "scaling_factor": 0.13025, "force_upcast": True, **vae}), seed + 2),
                 text_encoder=None if refiner else randomise(CLIPTextModel(CLIPTextConfig(**{**TEXT, **text})), seed + 3),
                 text_encoder_2=randomise(CLIPTextModelWithProjection(CLIPTextConfig(**{**TEXT_2, **text_2})), seed + 4),
                 tokenizer=None if refiner else toks[0], tokenizer_2=toks[1],
                 scheduler=EulerDiscreteScheduler(**{**EULER, **scheduler}))
    more = {"force_zeros_for_empty_prompt": zeros}
    kind = StableDiffusionXLPipeline
    if refiner:
        kind, more = StableDiffusionXLImg2ImgPipeline, {**more, "requires_aesthetics_score": True}
    elif parts["unet"].config.in_channels == 8:
        kind = StableDiffusionXLInstructPix2PixPipeline
    pipeline = kind(**parts, add_watermarker=False, **more)
    shutil.rmtree(folder)
    pipeline.save_pretrained(folder)
    return pipeline


# As 3.5 medium: a second attention in the first layer, norms of queries and keys. 20 + 12 is the pooled width.
MMDIT = dict(sample_size=8, patch_size=2, in_channels=16, out_channels=16, num_layers=3, attention_head_dim=8,
             num_attention_heads=4, joint_attention_dim=64, caption_projection_dim=32, pooled_projection_dim=32,
             pos_embed_max_size=12, dual_attention_layers=(0,), qk_norm="rms_norm")
VAE_16 = {**VAE, "latent_channels": 16, "scaling_factor": 1.5305, "shift_factor": 0.0609, "use_quant_conv": False,
          "use_post_quant_conv": False}


# As version 1.1: gated, gelu. joint_attention_dim is its width.
T5 = dict(d_model=64, d_kv=8, d_ff=48, num_layers=2, num_heads=4, feed_forward_proj="gated-gelu", dense_act_fn="gelu_new",
          relative_attention_num_buckets=8, relative_attention_max_distance=20, vocab_size=160)


def t5_tokenizer(length=256):
    """Of single letters, which are enough to tell texts apart; tests/test_tokens_equal_t5.py has the real kind."""
    letters = [(x, -4.0 - i / 100) for i, x in enumerate("etaoinshrdlucmfywgpbvkxqjzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,!?'-üößä")]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *letters, ("re", -3.0), ("▁a", -3.0)]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=length)


def make_sd3(folder, seed=0, transformer={}, vae={}, text={}, text_2={}, scheduler={}, t5=None):
    """t5=None: without it, as the pipeline allows."""
    torch.manual_seed(seed)
    shutil.rmtree(folder, ignore_errors=True)
    toks = [write_tokenizer(os.path.join(folder, "tokenizer")),
            write_tokenizer(os.path.join(folder, "tokenizer_2"), {**PUBLISHED, "pad_token": "!"}, {**SPECIALS, "pad_token": "!"})]
    texts = [CLIPTextConfig(**{**TEXT, "projection_dim": 12, **text}), CLIPTextConfig(**{**TEXT_2, **text_2})]
    parts = dict(transformer=randomise(SD3Transformer2DModel(**{**MMDIT, **transformer}), seed + 1),
                 vae=randomise(AutoencoderKL(**{**VAE_16, **vae}), seed + 2),
                 text_encoder=randomise(CLIPTextModelWithProjection(texts[0]), seed + 3),
                 text_encoder_2=randomise(CLIPTextModelWithProjection(texts[1]), seed + 4),
                 text_encoder_3=None if t5 is None else randomise(T5EncoderModel(T5Config(**{**T5, **t5})), seed + 5),
                 tokenizer=toks[0], tokenizer_2=toks[1], tokenizer_3=None if t5 is None else t5_tokenizer(),
                 scheduler=FlowMatchEulerDiscreteScheduler(**{"shift": 3.0, **scheduler}))
    pipeline = StableDiffusion3Pipeline(**parts)
    shutil.rmtree(folder)
    pipeline.save_pretrained(folder)
    return pipeline


# As FLUX.1 dev. 32 is the width of the CLIP model, 64 of T5.
FLUX = dict(in_channels=64, num_layers=2, num_single_layers=2, attention_head_dim=16, num_attention_heads=2, joint_attention_dim=64,
            pooled_projection_dim=32, guidance_embeds=True, axes_dims_rope=(4, 6, 6))
BY_SIZE = dict(use_dynamic_shifting=True, shift=3.0, base_shift=0.5, max_shift=1.15, base_image_seq_len=256, max_image_seq_len=4096)


def make_flux(folder, seed=0, transformer={}, vae={}, text={}, t5={}, scheduler=BY_SIZE):
    """With twice as many channels in as out it is a folder of FluxControlPipeline."""
    torch.manual_seed(seed)
    shutil.rmtree(folder, ignore_errors=True)
    tok = write_tokenizer(os.path.join(folder, "tokenizer"))
    parts = dict(transformer=randomise(FluxTransformer2DModel(**{**FLUX, **transformer}), seed + 1),
                 vae=randomise(AutoencoderKL(**{**VAE_16, "scaling_factor": 0.3611, "shift_factor": 0.1159, **vae}), seed + 2),
                 text_encoder=randomise(CLIPTextModel(CLIPTextConfig(**{**TEXT, **text})), seed + 3), tokenizer=tok,
                 text_encoder_2=randomise(T5EncoderModel(T5Config(**{**T5, **t5})), seed + 4), tokenizer_2=t5_tokenizer(512),
                 scheduler=FlowMatchEulerDiscreteScheduler(**scheduler))
    config = parts["transformer"].config
    edits = config.in_channels == 2 * (config.out_channels or config.in_channels)
    pipeline = (FluxControlPipeline if edits else FluxPipeline)(**parts)
    shutil.rmtree(folder)
    pipeline.save_pretrained(folder)
    return pipeline
