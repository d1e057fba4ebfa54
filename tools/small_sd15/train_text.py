"""Trains the small text encoder to understand the language of captions and instructions, without any picture.

A reader with a few questions (what is asked? which colour has the circle? where is it? which background? …) attends to
the encoder's last hidden states, the very tensor that the denoiser attends to, and must answer; so the meaning of a
sentence, and not only its words, is there to be found. The reader is thrown away. The denoiser has seen no edit of the
new kinds; that the language has words for them is what a text encoder is for.
"""

import random
import time

import torch
from edits import KINDS, random_edit, random_scene_of
from parts import TEXT_WIDTH, new_text_encoder
from scene import BACKGROUNDS, CELLS, COLOURS, SHAPES, caption
from torch import nn

LEARNING_RATE = 2e-3
BATCH = 128
NAMES = {
    "kind": ("caption", *KINDS),
    "shape": ("", *SHAPES),
    "new shape": ("", *SHAPES),
    "background": ("", *BACKGROUNDS),
    "border": ("", *COLOURS),
    **{f"colour of {shape}": ("", *COLOURS) for shape in SHAPES},
    **{f"place of {shape}": ("", *CELLS) for shape in SHAPES},
}


def caption_answers(scene, with_places):
    answers = {"kind": "caption", "background": scene.background}
    for shape in scene.shapes:
        answers[f"colour of {shape.kind}"] = shape.colour
        if with_places:
            answers[f"place of {shape.kind}"] = shape.cell
    return answers


def instruction_answers(edit):
    """Read from the instruction's own words, whose grammar is fixed."""
    words = edit.instruction.split()
    if edit.kind == "background":
        return {"kind": edit.kind, "background": words[3]}
    if edit.kind == "border":
        return {"kind": edit.kind, "border": words[2]}
    answers = {"kind": edit.kind, "shape": words[2]}
    if edit.kind == "recolour":
        answers[f"colour of {words[2]}"] = words[3]
    elif edit.kind == "replace":
        answers["new shape"] = words[5]
    elif edit.kind == "move":
        answers[f"place of {words[2]}"] = " ".join(words[5:])
    return answers


class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        self.questions = nn.Parameter(torch.randn(len(NAMES), TEXT_WIDTH) * 0.1)
        self.attention = nn.MultiheadAttention(TEXT_WIDTH, 4, batch_first=True)
        self.answers = nn.ModuleList(nn.Linear(TEXT_WIDTH, len(values)) for values in NAMES.values())

    def forward(self, hidden_BLD):
        read_BQD, _ = self.attention(self.questions.expand(len(hidden_BLD), -1, -1), hidden_BLD, hidden_BLD)
        return [answer(read_BQD[:, i]) for i, answer in enumerate(self.answers)]


def random_text(rng):
    """(sentence, answers): captions and all instructions in equal numbers."""
    scene = random_scene_of(rng, held_out=False)
    if rng.random() < 0.5:
        with_places = rng.random() < 0.5
        return caption(scene, with_places), caption_answers(scene, with_places)
    edit = random_edit(rng, scene, KINDS)
    return edit.instruction, instruction_answers(edit)


def train_text_encoder(tokenizer, steps=1500, seed=2, report=print):
    torch.manual_seed(seed)
    rng = random.Random(f"text {seed}")
    encoder, reader = new_text_encoder(len(tokenizer), tokenizer.eos_token_id), Reader()
    optimizer = torch.optim.AdamW([*encoder.parameters(), *reader.parameters()], lr=LEARNING_RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, steps, pct_start=0.05)
    start = time.time()
    for step in range(steps):
        texts = [random_text(rng) for _ in range(BATCH)]
        logits = reader(encoder(token_ids(tokenizer, [text for text, _ in texts])).last_hidden_state)
        loss, right = 0, 0
        for (name, values), predicted in zip(NAMES.items(), logits):
            wanted = torch.tensor([values.index(answers.get(name, "")) for _, answers in texts])
            loss = loss + nn.functional.cross_entropy(predicted, wanted)
            right = right + (predicted.argmax(1) == wanted).float().mean().item() / len(NAMES)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step + 1 == steps:
            report(f"text step {step} loss {loss.item():.4f} right {100 * right:.2f} % {time.time() - start:.0f} s")
    return encoder.eval()


def token_ids(tokenizer, texts):
    return tokenizer(
        texts, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
    ).input_ids


@torch.no_grad()
def text_states(tokenizer, encoder, texts):
    """[n, 16, 64] as the pipelines hand them to the denoiser."""
    return torch.cat([encoder(part).last_hidden_state for part in token_ids(tokenizer, texts).split(500)])
