"""Small T5 tokenizers with everything that the published one has: a unigram model that SentencePiece trained, its table
of normalisation (nmt_nfkc), the special tokens; as spiece.model and as tokenizer.json.

    reference = write_t5(folder, form="spiece")
"""

import functools
import io
import json
import os
import random
import shutil

import sentencepiece
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from transformers import T5TokenizerFast

from make_folders import CORPUS, added

EXTRA = [f"<extra_id_{i}>" for i in range(100)]
# Runs of a letter or a sign, which many splits of the same weight compete for.
RUNS = ["!", "?", ".", "-", "o", "a", "ha", "=", "x", "12", "é", "ー", "！"]


@functools.cache
def trained(normalization="nmt_nfkc", **options):
    """A spiece.model's bytes. `options`: of the trainer; lists are texts with commas."""
    rng = random.Random(3)
    lines = CORPUS * 8 + ["a b e x é 1 ⁄ 2 T M ! ?"] * 8
    for _ in range(400):
        words = rng.choice(CORPUS).split()
        lines.append(" ".join(rng.choice(words) + rng.choice(RUNS) * rng.randrange(1, 7) for _ in range(12)))
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, normalization_rule_name=normalization,
        **{"model_type": "unigram", "vocab_size": 1000, "hard_vocab_limit": options.get("model_type") == "bpe",
           "character_coverage": 1.0, "pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1, "num_threads": 1,
           "minloglevel": 2, **options})
    return model.getvalue()


def decoder(first, normalized=False):
    """tokenizer_config.json's list of the added tokens, as transformers 4 wrote it."""
    tokens = {0: "<pad>", 1: "</s>", 2: "<unk>", **{first + i: t for i, t in enumerate(reversed(EXTRA))}}
    return {str(i): added(t, normalized, special=True) for i, t in tokens.items()}


# tokenizer_config.json and special_tokens_map.json as Stable Diffusion 3 and FLUX have them.
CONFIG = {"add_prefix_space": True, "additional_special_tokens": EXTRA, "clean_up_tokenization_spaces": True,
          "eos_token": "</s>", "extra_ids": 100, "legacy": True, "model_max_length": 512, "pad_token": "<pad>",
          "sp_model_kwargs": {}, "tokenizer_class": "T5Tokenizer", "unk_token": "<unk>"}
SPECIALS = {"additional_special_tokens": EXTRA, "eos_token": added("</s>", False), "pad_token": added("<pad>", False),
            "unk_token": added("<unk>", False)}


def write_t5(folder, model=None, config=None, specials=None, added_tokens=None, name="spiece.model"):
    """A folder with a SentencePiece model. Returns transformers' tokenizer of it."""
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    with open(os.path.join(folder, name), "wb") as f:
        f.write(model or trained())
    files = {"tokenizer_config.json": config, "special_tokens_map.json": specials, "added_tokens.json": added_tokens}
    for file, content in files.items():
        if content is not None:
            with open(os.path.join(folder, file), "w", encoding="utf-8") as f:
                json.dump(content, f, ensure_ascii=False)
    return T5TokenizerFast.from_pretrained(folder)


def save_t5(folder, *args, pipeline=None, **kwargs):
    """The same as tokenizer.json: as transformers 5 saves it, or with the pipeline that transformers 4 wrote."""
    reference = write_t5(folder, *args, **kwargs)
    config = kwargs.get("config")
    shutil.rmtree(folder)
    reference.save_pretrained(folder)
    if pipeline:
        path = os.path.join(folder, "tokenizer.json")
        saved = Tokenizer.from_file(path)
        first, then = {
            "sequence": ([normalizers.Replace(Regex(" {2,}"), "▁")], pre_tokenizers.Metaspace("▁", "first", split=False)),
            "strip": ([normalizers.Strip(left=False), normalizers.Replace(Regex(" {2,}"), " ")],
                      pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace("▁", "always")])),
        }[pipeline]
        saved.normalizer = normalizers.Sequence([saved.normalizer, *first])
        saved.pre_tokenizer = then
        saved.save(path)
        with open(os.path.join(folder, "tokenizer_config.json"), "w", encoding="utf-8") as f:
            json.dump(config, f)
    return T5TokenizerFast.from_pretrained(folder)
