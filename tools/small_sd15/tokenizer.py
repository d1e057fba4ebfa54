"""Builds the small model's CLIP tokenizer in the published form: vocab.json, merges.txt and two settings files.

As in CLIP, the vocabulary is the 256 byte letters, the same with the end-of-word mark, one token per merge, and the two
end marks; so any text can be written. The merges are learned by byte-pair encoding from the words that captions and
instructions use, until each of those words is one token.
"""

import json
import os
import random
from collections import Counter

from edits import legal_edits, random_scene_of
from parts import PROMPT_TOKENS
from scene import BACKGROUNDS, COLOURS, caption

START, END, WORD_END = "<|startoftext|>", "<|endoftext|>", "</w>"


def byte_letters():
    """The letter that stands for every byte: itself where it can be printed, else one from 256 upwards, printable
    bytes first (the order of CLIP's vocabulary)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    rest = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(rest))]


def words_in_use():
    """How often each word occurs in captions and instructions of 2,000 random scenes."""
    rng, words = random.Random("words"), Counter()
    for i in range(2000):
        scene = random_scene_of(rng, held_out=False)
        words.update(caption(scene, with_places=bool(i % 2)).split())
        for edit in legal_edits(scene):
            words.update(edit.instruction.split())
    words.update([*COLOURS, *BACKGROUNDS])
    return words


def learn_merges(words):
    """Byte-pair encoding: joins the most frequent neighbours until every word is one piece."""
    pieces = {word: [*word[:-1], word[-1] + WORD_END] for word in words}
    merges = []
    while True:
        pairs = Counter()
        for word, parts in pieces.items():
            for pair in zip(parts, parts[1:]):
                pairs[pair] += words[word]
        if not pairs:
            return merges
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        for word, parts in pieces.items():
            pieces[word] = join(parts, best)


def join(parts, pair):
    result, i = [], 0
    while i < len(parts):
        if tuple(parts[i : i + 2]) == pair:
            result.append(parts[i] + parts[i + 1])
            i += 2
        else:
            result.append(parts[i])
            i += 1
    return result


def write_tokenizer(folder):
    """Writes the four files; returns (vocabulary size, number of the end mark)."""
    os.makedirs(folder, exist_ok=True)
    letters, merges = byte_letters(), learn_merges(words_in_use())
    tokens = [*letters, *(letter + WORD_END for letter in letters), *(a + b for a, b in merges), START, END]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    write_json(os.path.join(folder, "vocab.json"), vocabulary)
    with open(os.path.join(folder, "merges.txt"), "w", encoding="utf-8", newline="\n") as file:
        file.write("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    mark = {"lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    write_json(
        os.path.join(folder, "special_tokens_map.json"),
        {
            "bos_token": {"content": START, **mark},
            "eos_token": {"content": END, **mark},
            "pad_token": END,
            "unk_token": {"content": END, **mark},
        },
    )
    write_json(
        os.path.join(folder, "tokenizer_config.json"),
        {
            "add_prefix_space": False,
            "bos_token": START,
            "do_lower_case": True,
            "eos_token": END,
            "errors": "replace",
            "model_max_length": PROMPT_TOKENS,
            "pad_token": END,
            "tokenizer_class": "CLIPTokenizer",
            "unk_token": END,
        },
    )
    return len(tokens), vocabulary[END]


def write_json(path, value):
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        json.dump(value, file, ensure_ascii=False, indent=None if len(value) > 50 else 2)
        file.write("\n")
