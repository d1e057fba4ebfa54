"""T5's tokenizer against transformers' T5TokenizerFast: the same tokens for thousands of texts of mixed Unicode, for
spiece.model and for tokenizer.json.

Broken by: scores added in another precision, a normalisation that looks at other stretches of text, another Unicode
version, an added token taken for text, another order in which the folder's files are believed.
"""

import json
import os
import random
import shutil
import subprocess

import pytest

from make_folders import added
from make_t5 import CONFIG, EXTRA, RUNS, SPECIALS, decoder, save_t5, trained, write_t5
from test_tokens_equal_clip import texts as clip_texts

PROBE = os.path.join(os.environ.get("T2I_BUILD", "build"), "bin", "t5_probe")
PIECES = ["</s>", "<pad>", "<unk>", "<extra_id_0>", "<extra_id_99>", "<extra_id_100>", "<extra_id_7", " </s> ", "＜/s＞", "＜unk＞",
          "＜extra_id_3＞", "▁", " ▁", "▁▁", "  ", "\t", "\r\n", "\n\n", "\u3000", "\u00a0", "\u2028", "\u0085", "\u200b", "\u200d", "\ufeff",
          "\u00ad", "\u0001", "\u007f", "\u001f", "e\u0301\u0301", "a\u0323\u0302", "\u1e9b\u0323", "½\u0301", "™\ufe0f", "ﬁ", "①", "ｶﾞ", "㌀",
          "각", "\u1100\u1161\u11a8", "क्ष", "\u0958\u0301", "🙂", "👨‍👩‍👧", "🇩🇪", "\U000e0100", "日本語", "a photo of", "Ⅷ", "ẞ", "…", "，", "<New Cat>",
          "<new cat>", "dog", "hot dogs", "<sep>", "<ctl>"]


def texts(count):
    """So many different ones: those of CLIP's test, and the pieces above between runs of a letter or a sign."""
    rng = random.Random(7)
    found = dict.fromkeys(clip_texts(count // 2) + ["!" * 7, "a photo!!!!!!!", "</s>", "\n", "ー" * 300, "ha" * 2000, "\u3000 \t"])
    while len(found) < count:
        found["".join(rng.choice(PIECES) if rng.random() < 0.4 else rng.choice([*RUNS, "t", "e ", " "]) * rng.randrange(1, 8)
                      for _ in range(rng.randrange(1, 25)))] = None
    return list(found)


TEXTS = texts(5000)
SYMBOLS = dict(user_defined_symbols="<sep>,dog", control_symbols="<ctl>")


def numbered(n):
    """CONFIG with the list of the added tokens, of which the extra ones begin at n; some with flags."""
    tokens = {**decoder(n), str(n + 100): added("<New Cat>"), str(n + 101): added("dog", False, lstrip=True, rstrip=True)}
    return {**CONFIG, "added_tokens_decoder": tokens}


def pieces():
    import sentencepiece
    return sentencepiece.SentencePieceProcessor(model_proto=trained()).get_piece_size()


FORMS = {
    "spiece": lambda f: write_t5(f),
    "spiece_published": lambda f: write_t5(f, config={**CONFIG, "added_tokens_decoder": decoder(pieces())}, specials=SPECIALS),
    "spiece_older": lambda f: write_t5(f, config={**CONFIG, "extra_ids": 0, "additional_special_tokens": None}, specials=SPECIALS),
    "spiece_merged": lambda f: write_t5(f, config={**CONFIG, "additional_special_tokens": EXTRA[:7]},
                                        specials={**SPECIALS, "extra_special_tokens": EXTRA[5:9]}),
    "spiece_numbered": lambda f: write_t5(f, config=numbered(pieces())),
    "spiece_left": lambda f: write_t5(f, config={**CONFIG, "padding_side": "left", "truncation_side": "left"}),
    "spiece_added": lambda f: write_t5(f, specials=SPECIALS, added_tokens={"<New Cat>": pieces() + 100, "dog": pieces() + 101}),
    "spiece_other_names": lambda f: write_t5(f, config={**CONFIG, "eos_token": "<unk>", "pad_token": "<extra_id_0>"}),
    "spiece_symbols": lambda f: write_t5(f, trained(**SYMBOLS)),
    "spiece_no_extra": lambda f: write_t5(f, config={"extra_ids": 0}),
    "spiece_no_table": lambda f: write_t5(f, trained("identity")),
    "tokenizer_model": lambda f: write_t5(f, name="tokenizer.model"),
    "json": lambda f: save_t5(f),
    "json_published": lambda f: save_t5(f, config={**CONFIG, "added_tokens_decoder": decoder(pieces())}, pipeline="strip"),
    "json_first": lambda f: save_t5(f, config={**CONFIG, "legacy": False}, pipeline="sequence"),
    "json_numbered": lambda f: save_t5(f, config=numbered(pieces())),
    "json_symbols": lambda f: save_t5(f, trained(**SYMBOLS)),
    "json_left": lambda f: save_t5(f, config={**CONFIG, "padding_side": "left", "truncation_side": "left"}),
    "json_no_table": lambda f: save_t5(f, trained("identity")),
}


def probe(folder, prompts, length=64, vocabulary=2000):
    done = subprocess.run([PROBE, folder, str(length), str(vocabulary)], input="".join(p + "\0" for p in prompts).encode(),
                          capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    rows = [[int(n) for n in line.split()] for line in done.stdout.decode().splitlines()]
    assert len(rows) == len(prompts)
    return [r[0] for r in rows], [r[1:] for r in rows]


def compare(folder, reference, prompts, length=64):
    wanted = reference(prompts, padding="max_length", max_length=length, truncation=True).input_ids
    counts, got = probe(folder, prompts, length)
    wrong = [(p, g, w) for p, g, w in zip(prompts, got, wanted) if g != w]
    assert not wrong, f"{len(wrong)} of {len(prompts)} differ, the first: {wrong[0]!a}"
    return counts


def test_the_texts_are_many_and_mixed():
    assert len(set(TEXTS)) == len(TEXTS) >= 5000
    assert len([t for t in TEXTS if any(ord(c) > 0x7f for c in t)]) > 3000
    assert len([t for t in TEXTS if "</s>" in t or "<extra_id_0>" in t]) > 500


@pytest.mark.parametrize("form", FORMS)
def test_thousands_of_texts(tmp_path, form):
    folder = str(tmp_path / "tokenizer_3")
    reference = FORMS[form](folder)
    assert ("tokenizer.json" in os.listdir(folder)) == form.startswith("json")
    counts = compare(folder, reference, TEXTS)
    assert counts == [len(ids) - 1 for ids in reference(TEXTS).input_ids]


@pytest.mark.parametrize("length", [1, 2, 256, 512])
def test_the_lengths_of_pipelines(tmp_path, length):
    folder = str(tmp_path / "tokenizer_3")
    compare(folder, FORMS["json_published"](folder), TEXTS[:1000], length)


def test_the_model_tells_splits_apart(tmp_path):
    """That the comparison can fail: libsentencepiece, which adds in float32, gives other tokens for some of these."""
    import sentencepiece
    reference = write_t5(str(tmp_path / "tokenizer"))
    other = sentencepiece.SentencePieceProcessor(model_proto=trained())
    plain = [t for t in TEXTS if t.isascii() and "<" not in t]
    assert len(plain) > 100
    assert any(other.encode(t) != reference(t, add_special_tokens=False).input_ids for t in plain)


def around(c):
    """A code point between others so that its text, its class and how it joins its neighbours all show in the tokens."""
    return [f"a{c}b", f"½{c}x", f"e\u0301{c}x", f"{c}\u0301x", f"{c}½\u0301", f"क्{c}\u0301", f"{c}\u094d\u0958\u0301", f"क{c}\u0958\u0301",
            f"☺\u200d{c}\u0301", f"{c}\u200d™\u0301"]


def test_every_code_point_of_unicode(tmp_path):
    folder = str(tmp_path / "tokenizer")
    reference = write_t5(folder)
    assert 2 not in reference("a b e x é 1 ⁄ 2 T M").input_ids  # or what is dropped would look like what is not known
    points = [c for c in range(1, 0x110000) if not 0xd800 <= c < 0xe000 and (c < 0x20000 or c % 131 == 0 or 0xe0000 <= c < 0xe0200)]
    words = [w for c in points for w in around(chr(c))]
    for i in range(0, len(words), 200000):
        compare(folder, reference, [" ".join(words[j:j + 10]) for j in range(i, min(i + 200000, len(words)), 10)], 80)


HTML = b"<!DOCTYPE html><html><title>401</title>"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 791656\n"


def changed(change):
    """A change of tokenizer.json's object."""
    def apply(raw):
        whole = json.loads(raw)
        change(whole)
        return json.dumps(whole).encode()
    return apply


@pytest.mark.parametrize("file, change, says", [
    ("spiece.model", None, ["no T5 tokenizer here", "spiece.model"]),
    ("spiece.model", lambda b: b"", ["spiece.model: empty"]),
    ("spiece.model", lambda b: POINTER, ["spiece.model", "Git LFS pointer", "git lfs pull"]),
    ("spiece.model", lambda b: HTML, ["spiece.model", "web page"]),
    ("spiece.model", lambda b: b"PK\3\4" * 50, ["spiece.model", "not a SentencePiece model"]),
    ("spiece.model", lambda b: b[:5000], ["spiece.model", "cut off"]),
    ("spiece.model", lambda b: b[:-5000], ["spiece.model", "cut off", "bytes behind the end"]),
    ("spiece.model", lambda b: trained("nmt_nfkc", model_type="bpe", vocab_size=400), ["spiece.model", "'trainer_spec.model_type' is 2", "unigram"]),
    ("spiece.model", lambda b: trained("nmt_nfkc", bos_id=2, unk_id=3), ["spiece.model", "'trainer_spec.unk_id' is 3", "2"]),
    ("spiece.model", lambda b: trained("nmt_nfkc", byte_fallback=True), ["spiece.model", "byte_fallback"]),
    ("tokenizer.json", lambda b: b[:5000], ["tokenizer.json", "not JSON"]),
    ("tokenizer.json", lambda b: POINTER, ["tokenizer.json", "Git LFS pointer"]),
    ("tokenizer.json", lambda b: b"[]", ["tokenizer.json", "not a JSON object"]),
    ("tokenizer.json", changed(lambda j: j.pop("model")), ["tokenizer.json"]),
    ("tokenizer.json", changed(lambda j: j["model"].update(type="BPE")), ["tokenizer.json", "'model.type' is \"BPE\"", "Unigram"]),
    ("tokenizer.json", changed(lambda j: j["model"].update(unk_id=0)), ["tokenizer.json", "'model.unk_id' is 0"]),
    ("tokenizer.json", changed(lambda j: j["model"].update(byte_fallback=True)), ["tokenizer.json", "'model.byte_fallback' is true"]),
    ("tokenizer.json", changed(lambda j: j["model"].update(dropout=0.1)), ["tokenizer.json", "'model.dropout' is 0.1"]),
    ("tokenizer.json", changed(lambda j: j["model"]["vocab"].insert(7, ["x"])), ["tokenizer.json", "model.vocab[7]", '["x"]']),
    ("tokenizer.json", changed(lambda j: j.update(normalizer={"type": "Lowercase"})), ["tokenizer.json", "'normalizer'", "Lowercase"]),
    ("tokenizer.json", changed(lambda j: j["normalizer"].update(precompiled_charsmap="@@@@")), ["precompiled_charsmap", "base64"]),
    ("tokenizer.json", changed(lambda j: j["normalizer"].update(precompiled_charsmap="AAAA")), ["tokenizer.json", "precompiled_charsmap"]),
    ("tokenizer.json", changed(lambda j: j.update(pre_tokenizer={"type": "ByteLevel"})), ["tokenizer.json", "'pre_tokenizer'", "ByteLevel"]),
    ("tokenizer.json", changed(lambda j: j.update(pre_tokenizer=None)), ["tokenizer.json", "'pre_tokenizer' is not there"]),
    ("tokenizer.json", changed(lambda j: j.update(post_processor=None)), ["tokenizer.json", "'post_processor' is not there"]),
    ("tokenizer.json", changed(lambda j: j.update(spell_check=1)), ["tokenizer.json", "'spell_check' is 1"]),
    ("tokenizer.json", changed(lambda j: j["model"].update(vocab=5)), ["tokenizer.json", "'model.vocab' is 5"]),
    ("tokenizer.json", changed(lambda j: j["added_tokens"].append(7)), ["tokenizer.json", "added_tokens", "7"]),
    ("tokenizer_config.json", lambda b: b'{"padding_side": "up"}', ["tokenizer_config.json", "'padding_side' is \"up\""]),
    ("tokenizer_config.json", lambda b: b'{"extra_ids": -1}', ["tokenizer_config.json", "'extra_ids' is -1"]),
    ("tokenizer_config.json", lambda b: b'{"spell_check": true}', ["tokenizer_config.json", "'spell_check' is true"]),
    ("tokenizer_config.json", lambda b: b'{"eos_token": 7}', ["tokenizer_config.json", "eos_token is 7"]),
    ("tokenizer_config.json", lambda b: b'{"added_tokens_decoder": 7}', ["tokenizer"]),
])
def test_a_broken_tokenizer_names_the_file(tmp_path, file, change, says):
    folder = str(tmp_path / "tokenizer_3")
    write_t5(folder) if file == "spiece.model" else save_t5(folder)
    path = os.path.join(folder, file)
    with open(path, "rb") as f:
        before = f.read()
    os.remove(path)
    if change:
        with open(path, "wb") as f:
            f.write(change(before))
    done = subprocess.run([PROBE, folder, "8", "2000"], input=b"x\0", capture_output=True)
    assert done.returncode == 1 and done.stdout == b"", (done.returncode, done.stderr)
    for wanted in says:
        assert wanted in done.stderr.decode(), done.stderr.decode()


def test_a_model_cut_off_anywhere_is_refused_or_whole(tmp_path):
    """And one with a byte changed is read or refused: never a crash."""
    folder, rng = str(tmp_path / "tokenizer"), random.Random(1)
    write_t5(folder)
    model = trained()
    for i in range(300):
        end, at = rng.randrange(len(model)), rng.randrange(len(model))
        broken = model[:end] if i % 2 else model[:at] + bytes([rng.randrange(256)]) + model[at + 1:]
        with open(os.path.join(folder, "spiece.model"), "wb") as f:
            f.write(broken)
        done = subprocess.run([PROBE, folder, "8", "2000"], input="ﬁ ① é x\0".encode(), capture_output=True)
        assert done.returncode in (0, 1) and b"spiece.model" in done.stderr + b"spiece.model" * (1 - done.returncode), done.stderr
        if i % 2:
            assert done.returncode == 1, end


def test_a_vocabulary_larger_than_the_text_encoder_is_refused(tmp_path):
    folder = str(tmp_path / "tokenizer_3")
    write_t5(folder)
    done = subprocess.run([PROBE, folder, "8", "500"], input=b"x\0", capture_output=True)
    assert done.returncode == 1 and b"has 500 embeddings" in done.stderr, done.stderr


def test_a_text_that_is_not_utf8_is_refused(tmp_path):
    folder = str(tmp_path / "tokenizer_3")
    write_t5(folder)
    done = subprocess.run([PROBE, folder, "8", "2000"], input=b"ab\xff\0", capture_output=True)
    assert done.returncode == 1 and b"not UTF-8 at byte 2" in done.stderr, done.stderr
