"""Hands a run's numbers and pictures to wandb while it trains.

t2i starts it as `python3 -c THIS SETTINGS`. It reads metrics.jsonl and validation_images/ as they grow, so the training
never waits for it. Its standard input says when: `begin` once the files are those of this run, a last word (done, stopped,
failed) and the end of the run. What it has handed over is remembered in wandb/t2i.json of the run's folder, so that a run
that goes on is the same run there, too, and no step is handed over twice.
"""

import json
import math
import os
import pathlib
import select
import sys
import uuid

for name, value in (("WANDB_SILENT", "true"), ("WANDB_CONSOLE", "off"), ("WANDB_DISABLE_GIT", "true"), ("WANDB_DISABLE_CODE", "true")):
    os.environ.setdefault(name, value)

settings = json.loads(sys.argv[1])
folder = pathlib.Path(settings["run"])
memory_file = folder / "wandb" / "t2i.json"
NOT_SHOWN = ("step", "epoch", "step_seconds", "data_seconds")


def tell(word, text=""):
    print("t2i-" + word, " ".join(str(text).split()), flush=True)


def remembered():
    try:
        memory = json.loads(memory_file.read_text())
        return {"id": str(memory["id"]), "step": int(memory["step"]), "pictures": list(memory["pictures"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {"id": None, "step": 0, "pictures": []}


def remember(memory):
    part = memory_file.with_suffix(".part")
    part.write_text(json.dumps(memory))
    os.replace(part, memory_file)


class Feed:
    def __init__(self, wandb, run, memory):
        self.wandb, self.run, self.memory, self.offset, self.kept_back = wandb, run, memory, 0, None

    def numbers(self, last):
        try:
            with open(folder / "metrics.jsonl", "rb") as file:
                file.seek(self.offset)
                text = file.read()
        except OSError:
            return
        whole = text[: text.rfind(b"\n") + 1]
        self.offset += len(whole)
        for line in whole.splitlines():
            try:
                values = json.loads(line)
                step = int(values["step"])
            except (ValueError, KeyError, TypeError):
                continue
            if step > self.memory["step"]:
                self.kept_back = (step, values)
                if step % settings["log_every"] == 0:
                    self.hand_over()
        if last:
            self.hand_over()

    def hand_over(self):
        """The last step is handed over even where it is none of those that are logged."""
        if self.kept_back is None:
            return
        (step, values), self.kept_back = self.kept_back, None
        row = {"train/" + k: math.nan if v is None else v for k, v in values.items() if k not in NOT_SHOWN}
        self.run.log({"step": step, "epoch": values.get("epoch"), **row})
        self.memory["step"] = step

    def pictures(self):
        for path in sorted(folder.glob("validation_images/step-*/*.png")):
            name = str(path.relative_to(folder))
            if name in self.memory["pictures"] or path.name.startswith("."):
                continue
            self.memory["pictures"].append(name)
            try:
                from PIL import Image

                caption = Image.open(path).text.get("prompt", "")
                picture = self.wandb.Image(str(path), caption=caption)
            except Exception as e:  # a picture less; the numbers go on
                tell("say", f"{name} was not handed over: {e}")
                continue
            self.run.log({"step": int(path.parent.name.split("-")[1]), "validation/" + path.stem: picture})

    def all(self, last=False):
        self.numbers(last)
        self.pictures()
        remember(self.memory)


def main():
    import wandb

    memory = remembered()
    memory["id"] = memory["id"] or uuid.uuid4().hex[:8]
    memory_file.parent.mkdir(parents=True, exist_ok=True)
    run = wandb.init(
        project=settings["project"] or os.environ.get("WANDB_PROJECT") or "t2i", entity=settings["entity"] or os.environ.get("WANDB_ENTITY"),
        name=settings["name"] or os.environ.get("WANDB_NAME") or folder.resolve().name, id=memory["id"], resume="allow", dir=str(folder),
        config=settings["config"])
    run.define_metric("step")
    for name in ("epoch", "train/*", "validation/*"):
        run.define_metric(name, step_metric="step")
    tell("ready", run.url or f"offline: {pathlib.Path(run.dir).parent}")
    word, feed, ended = "", Feed(wandb, run, memory), False
    said = b""
    while not ended:
        if select.select([0], [], [], 1.0)[0]:
            more = os.read(0, 4096)
            ended = not more
            said += more
        words = said.decode().split()
        if "begin" in words:
            feed.all()
        word = words[-1] if words else ""
    if "begin" in words:
        feed.all(last=True)
    run.finish(exit_code=0 if word in ("done", "stopped") else 1)
    tell("finished", run.url or f"wandb sync {pathlib.Path(run.dir).parent}")


try:
    main()
except Exception as e:
    tell("failed", str(e) or type(e).__name__)
    sys.stdout.flush()
    os._exit(1)
