"""CLIP's tokenizer against transformers' CLIPTokenizer: the same tokens for thousands of texts of mixed Unicode, for each
form that a folder's files take. transformers 5 has one CLIPTokenizer, on the tokenizers library; there is no slow one.

Broken by: another Unicode version, a merge out of order, a special token found where it should not be, another order in
which the folder's files are believed.
"""

import json
import os
import random
import shutil
import subprocess
import unicodedata

import pytest
import torch
from safetensors.torch import load_file
from transformers import CLIPTokenizer

from make_folders import PUBLISHED, SPECIALS, added, make_sd15, write_tokenizer

T2I = os.path.join(os.environ.get("T2I_BUILD", "build"), "bin", "t2i")
PIECES = ["'s", "'t", "'re", "'VE", "'ll", "'d", "'", " ", "  ", "\t", "\n", "\u3000", "\u00a0", "\u0085", "\u200b", "\u0300",
          "\u0301", "e\u0301", "A\u030a", "İ", "Σ", "ς", "ß", "ẞ", "ﬁ", "１", "①", "½", "ⅷ", "<|endoftext|>", "<|startoftext|>",
          "<|ENDOFTEXT|>", "<|", "!", "!!", "<New Cat>", "<new cat>", "dog", "dogs", " x ", "the", "[S]", "[E]", "각", "क्ष",
          "नि", "🙂", "👨‍👩‍👧", "\u1100\u1161\u11a8", "\U0002ebf0", "\U000105c0", "don't", "4k", "1024x768", "photo", "астронавт"]
RANGES = [(0x20, 0x7f), (0x80, 0x800), (0x800, 0xd800), (0xe000, 0x10000), (0x10000, 0x110000)]


def texts(count):
    """So many different ones: runs of one script and of all at once, with the pieces above between, some far longer than
    77 tokens."""
    rng = random.Random(5)

    def letter(low, high):
        return chr(rng.randrange(low, high))

    def text():
        ranges = rng.choice([[r] for r in RANGES] + [RANGES, RANGES[:1], RANGES[:2]])
        words = []
        for _ in range(rng.randrange(0, 50)):
            words.append(rng.choice(PIECES) if rng.random() < 0.4 else letter(*rng.choice(ranges)))
            words.append(rng.choice(["", "", "", " "]))
        return "".join(words)

    found = dict.fromkeys(["", " ", "x" * 3000, "é " * 400])
    while len(found) < count:
        found[text()] = None
    return list(found)


TEXTS = texts(2500)  # for each of the forms below: 20,000 comparisons

FORMS = {
    "published": dict(),
    "padded_with_!": dict(config={**PUBLISHED, "pad_token": "!"}, specials={**SPECIALS, "pad_token": "!"}),
    "added_tokens": dict(specials=None, added_tokens={"<New Cat>": 690, "dog": 691}),
    "decoder": dict(specials=None, config={**PUBLISHED, "model_max_length": 16, "added_tokens_decoder": {
        "698": added("<|startoftext|>", special=True), "699": added("<|endoftext|>", False, special=True),
        "690": added(" x", lstrip=True, rstrip=True), "691": added("the", False, single_word=True)}}),
    "left": dict(config={**PUBLISHED, "padding_side": "left", "truncation_side": "left", "model_max_length": 12}),
    "other_names": dict(specials=None, config={**PUBLISHED, "bos_token": "[S]", "eos_token": "[E]", "unk_token": "[E]",
                                               "pad_token": "[E]", "extra_special_tokens": ["[X]"]}),
}
SAVED_BY_TRANSFORMERS = ["published", "padded_with_!"]  # the same once more as tokenizer.json alone


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("tokens") / "model")
    make_sd15(path, text={"vocab_size": 710})
    return path


def tokens(model, prompts):
    out = os.path.join(model, "out.safetensors")
    arguments = [T2I, "probe", "tokens", "--model", model, "--outputs", out]
    for p in prompts:
        arguments += ["--prompt=" + p] if p else ["--prompt", p]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return load_file(out)["tokens"]


def test_the_texts_are_many_and_mixed():
    """At least 2,000 different ones, with letters of every plane, in most more than one script, some cut off."""
    assert len(set(TEXTS)) == len(TEXTS) >= 2000
    outside_ascii = [t for t in TEXTS if any(ord(c) > 0x7f for c in t)]
    mixed = [t for t in outside_ascii if any(c.isascii() and c.isalpha() for c in t)]
    assert len(outside_ascii) > 1500 and len(mixed) > 1000 and len([t for t in TEXTS if max(t, default="") > "\uffff"]) > 500


@pytest.mark.parametrize("name, saved", [(n, False) for n in FORMS] + [(n, True) for n in SAVED_BY_TRANSFORMERS])
def test_thousands_of_texts(model, name, saved):
    folder = os.path.join(model, "tokenizer")
    shutil.rmtree(folder)
    reference = write_tokenizer(folder, **FORMS[name])
    if saved:
        shutil.rmtree(folder)
        reference.save_pretrained(folder)
        assert sorted(os.listdir(folder)) == ["tokenizer.json", "tokenizer_config.json"]
        reference = CLIPTokenizer.from_pretrained(folder)
    wanted = reference(TEXTS, padding="max_length", max_length=reference.model_max_length, truncation=True).input_ids
    got = tokens(model, TEXTS).tolist()
    wrong = [(t, g, w) for t, g, w in zip(TEXTS, got, wanted) if g != w]
    assert len(got) == len(TEXTS) and not wrong, f"{len(wrong)} of {len(TEXTS)} differ, the first: {wrong[0]}"


def test_every_code_point_of_unicode(model):
    """Each one between two letters, so that its class, its small form and its composition all show in the tokens."""
    folder = os.path.join(model, "tokenizer")
    shutil.rmtree(folder)
    reference = write_tokenizer(folder)
    points = [c for c in range(1, 0x110000) if not 0xd800 <= c < 0xe000]
    inner = 14  # of at most five tokens each
    prompts = [" ".join(f"a{chr(c)}b" for c in points[i:i + inner]) for i in range(0, 0x3000, inner)]
    prompts += [" ".join(f"a{chr(c)}b" for c in points[i:i + inner]) for i in range(0x3000, len(points), inner * 131)]
    wanted = reference(prompts, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
    got = torch.cat([tokens(model, prompts[i:i + 2000]) for i in range(0, len(prompts), 2000)])
    wrong = (got != wanted).any(1).nonzero().flatten().tolist()
    assert not wrong, f"{len(wrong)} prompts differ, the first: {prompts[wrong[0]]!r}"


def test_marks_keep_their_order(model):
    """Every mark that NFC could move, before and behind marks of other classes. The tokenizers library orders by Unicode 9:
    a mark that came later stays where it is. And letters that are composed since stay apart."""
    folder = os.path.join(model, "tokenizer")
    shutil.rmtree(folder)
    reference = write_tokenizer(folder)
    marks = [chr(c) for c in range(0x300, 0x1f000) if unicodedata.combining(chr(c)) or 0x10e00 <= c < 0x10f00 or 0x11300 <= c < 0x11a00]
    assert "\u07fd" in marks and "\U0001e2ec" in marks and len(marks) > 2000
    pairs = [x for m in marks for x in (f"\u0300{m}", f"{m}\u0316", f"a{m}\u0323", f"\u0345{m}")]
    pairs += [a + b for low in (0x105d0, 0x11380, 0x11930, 0x16120, 0x16d60) for a in map(chr, range(low, low + 16))
              for b in [chr(low + i) for i in range(16)] + ["\u0307"]]
    prompts = [" ".join(pairs[i:i + 7]) for i in range(0, len(pairs), 7)]  # of at most ten tokens each
    wanted = reference(prompts, padding="max_length", max_length=77, truncation=True).input_ids
    got = tokens(model, prompts).tolist()
    wrong = [p for p, g, w in zip(prompts, got, wanted) if g != w]
    assert not wrong, f"{len(wrong)} prompts differ, the first: {wrong[0]!a}"


@pytest.mark.parametrize("file, change, says", [
    ("vocab.json", lambda t: t.replace('"a": ', '"a": "x', 1), ["vocab.json", "JSON"]),
    ("merges.txt", lambda t: t + "qq zz\n", ["merges.txt", "'qq'", "not in the vocabulary"]),
    ("merges.txt", lambda t: t + "only_one\n", ["merges.txt:", "only_one"]),
    ("merges.txt", None, ["no tokenizer here"]),
    ("tokenizer_config.json", lambda t: json.dumps({**json.loads(t), "model_max_length": 100}), ["model_max_length is 100", "77"]),
    ("tokenizer_config.json", lambda t: json.dumps({**json.loads(t), "padding_side": "up"}), ["'padding_side'", '"up"']),
    ("tokenizer_config.json", lambda t: json.dumps({**json.loads(t), "spell_check": True}), ["'spell_check'", "true"]),
    ("special_tokens_map.json", lambda t: json.dumps({**json.loads(t), "pad_token": None}), ["pad_token", "null"]),
])
def test_a_broken_tokenizer_names_the_file(model, file, change, says):
    folder = os.path.join(model, "tokenizer")
    shutil.rmtree(folder)
    write_tokenizer(folder)
    path = os.path.join(folder, file)
    with open(path, encoding="utf-8") as f:
        text = f.read()
    os.remove(path)
    if change:
        with open(path, "w", encoding="utf-8") as f:
            f.write(change(text))
    arguments = [T2I, "probe", "tokens", "--model", model, "--prompt", "x", "--outputs", os.path.join(model, "never")]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode not in (0, -11, -6), done.stderr
    for wanted in says:
        assert wanted in done.stderr, done.stderr


def test_a_text_that_is_not_utf8_is_refused(model):
    folder = os.path.join(model, "tokenizer")
    shutil.rmtree(folder)
    write_tokenizer(folder)
    arguments = [T2I, "probe", "tokens", "--model", model, "--outputs", os.path.join(model, "never"), "--prompt", b"ab\xff"]
    done = subprocess.run(arguments, capture_output=True)
    assert done.returncode != 0 and b"not UTF-8 at byte 2" in done.stderr, done.stderr
