"""What a run does beside training: report.html at every checkpoint, wandb through its own client, the upload by hf.

Broken by: a report of an older step, a step handed to wandb twice or never, an upload without its card, a failing client that
takes the run with it, a token in anything that is written or said.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import struct
import subprocess
import sys
import time

import pytest
from test_run_errors import poison
from tiny import AS_CAPTIONS, T2I, edit_folder, metrics, sd_folder, settings, sha256, triplet_data

STEPS = 6
PROMPTS = ["edit number 3", "a \"quoted\" red square <b>, `x` & more"]
COMMON = settings(data__resolution=16, data__num_workers=1, train__num_threads=1, train__gradient_accumulation_steps=1, train__max_train_steps=STEPS, train__mixed_precision="fp32",
                  train__train_batch_size=2, train__log_every_steps=2, checkpoint__every_steps=3, checkpoint__keep=1, validation__every_steps=3, validation__steps=2, validation__seed=11,
                  validation__prompts=json.dumps(PROMPTS))
SECRETS = {"HF_TOKEN": "hf_CanaryCanaryCanaryCanaryCanary01", "HUGGING_FACE_HUB_TOKEN": "hf_OtherOtherOtherOtherOther02", "WANDB_API_KEY": "c0ffee00" * 5,
           "AWS_SECRET_ACCESS_KEY": "aws-canary-aws-canary-aws", "MY_SERVICE_PASSWORD": "password-canary-1"}
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB", "HF_"))} | {"WANDB_MODE": "offline", "OMP_NUM_THREADS": "1"}
FAKE_HF = f"""#!{sys.executable}
import json, os, pathlib, sys
pathlib.Path(os.environ["HF_RECORD"]).write_text(json.dumps({{"arguments": sys.argv[1:], "folder": sorted(str(p.relative_to(sys.argv[3])) for p in pathlib.Path(sys.argv[3]).rglob("*") if p.is_file())}}))
print("Uploading 12%\\rUploading 100%", file=sys.stderr)
if os.environ.get("HF_FAILS"):
    print("Error: 401 Client Error: Unauthorized for url: https://hub/api?token=" + os.environ["HF_TOKEN"] + " (Authorization: Bearer " + os.environ["HF_TOKEN"] + ")", file=sys.stderr)
    sys.exit(1)
print("url: https://huggingface.co/me/my-model/tree/main")
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("publish")
    sd_folder(root / "model")
    (root / "model" / "README.md").write_text("---\nlicense: creativeml-openrail-m\n---\n# Base\n")
    triplet_data(root / "data", count=8)
    (root / "bin").mkdir()
    (root / "bin" / "hf").write_text(FAKE_HF)
    (root / "bin" / "hf").chmod(0o755)
    return root


def command(place, output, *more, **changes):
    return [str(T2I), "run", "--task", "text", "--model", str(place / "model"), "--data", str(place / "data"), "--output", str(place / output), *COMMON, *AS_CAPTIONS, *settings(**changes), *map(str, more)]


def path_with(place):
    """The fake hf first, then the python that has wandb."""
    return f"{place}/bin:{pathlib.Path(sys.executable).parent}:/usr/bin:/bin"


def run(place, output, *more, code=0, env=None, **changes):
    done = subprocess.run(command(place, output, *more, **changes), capture_output=True, text=True, timeout=300, env={**ENVIRONMENT, "PATH": path_with(place), **(env or {})})
    assert done.returncode == code, done.stderr
    return done


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', pathlib.Path(page).read_text(), re.S)[1])


# ---- report.html of a run ----


@pytest.fixture(scope="module")
def plain(place):
    return run(place, "plain")


def test_the_last_lines_name_the_report(place, plain):
    lines = plain.stderr.splitlines()
    assert lines[-2] == f"report: {place}/plain/report.html" and lines[-1].startswith("peak memory: ")
    page = data_of(place / "plain" / "report.html")
    lines = metrics(place / "plain")
    assert page["status"] == "done" and page["step"] == page["total"] == STEPS and page["pictures"]["steps"] == [0, 3, 6]
    loss = next(s for s in page["curves"]["series"] if s["name"] == "loss")
    assert loss["mean"] == pytest.approx([m["loss"] for m in lines], rel=1e-8)  # nine digits
    assert [row["prompt"] for row in page["pictures"]["rows"]] == PROMPTS and [row["seed"] for row in page["pictures"]["rows"]] == ["11", "11"]
    assert page["data"]["samples"] == 8 and page["data"]["buckets"] == [{"width": 16, "height": 16, "samples": 8}] and page["data"]["columns"] == {"image": "output_image", "text": "instruction"}
    again = subprocess.run([T2I, "report", place / "plain", "--output", place / "again.html"], capture_output=True, text=True)
    assert again.returncode == 0
    different = {k for k, v in data_of(place / "again.html").items() if v != page[k]}
    assert different <= {"written", "events"}, "the command makes the page that the run made; its last words came after it"


def test_at_each_checkpoint_and_after_an_interruption(place):
    """A run that is killed leaves the page of its last checkpoint; the one that goes on marks it."""
    shutil.rmtree(place / "killed", ignore_errors=True)
    process = subprocess.Popen(command(place, "killed", train__max_train_steps=400, checkpoint__every_steps=5, validation__every_steps=0), stderr=subprocess.DEVNULL, env=ENVIRONMENT)
    page = place / "killed" / "report.html"
    until = time.monotonic() + 120
    while not page.exists() and time.monotonic() < until:
        time.sleep(0.02)
    first = data_of(page)
    assert first["status"] == "running" and first["step"] >= 5
    process.kill()
    process.wait()
    (place / "killed" / ".report.html.tmp-0123456789abcdef").write_text("half a page")
    subprocess.run([T2I, "report", place / "killed"], check=True, capture_output=True)
    assert data_of(page)["status"] == "interrupted"
    reached = metrics(place / "killed")[-1]["step"] // 5 * 5
    more = reached + 7
    done = run(place, "killed", train__max_train_steps=more, checkpoint__every_steps=5, validation__every_steps=0)
    last = data_of(page)
    assert last["status"] == "done" and last["step"] == more and [r["step"] for r in last["resumes"]] == [reached]
    assert any(e["kind"] == "notice" and "allow" not in e["text"] for e in last["events"]) or "notice" not in done.stderr
    assert not list((place / "killed").glob(".report*")), "what the kill left is cleared"


def test_a_run_that_fails_says_so_in_its_report(place, tmp_path, monkeypatch):
    """One caption makes the text encoder's output no number."""
    for name in ("model", "data"):
        shutil.copytree(place / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    poison(5)
    done = run(tmp_path, "failing", code=70, validation__every_steps=0, checkpoint__every_steps=1)
    page = data_of(tmp_path / "failing" / "report.html")
    assert "[T2I-E4201]" in done.stderr and page["status"] == "failed"
    error = [e for e in page["events"] if e["kind"] == "error"]
    assert len(error) == 1 and "[T2I-E4201]" in error[0]["text"]


def test_a_report_that_cannot_be_written_ends_nothing(place):
    """A folder is where the page should be."""
    (place / "blocked" / "report.html" / "mine").mkdir(parents=True)
    done = run(place, "blocked", validation__every_steps=0)
    assert done.stderr.count("warning: report.html is not written: ") == 1 and "report.html" in done.stderr
    assert (place / "blocked" / "final" / "model_index.json").exists() and (place / "blocked" / "report.html" / "mine").is_dir()
    assert not [line for line in done.stderr.splitlines() if line.startswith("report: ")]


def test_it_changes_no_training_and_can_be_left_out(place, plain):
    done = run(place, "without", checkpoint__report="false")
    assert not (place / "without" / "report.html").exists() and "report: " not in done.stderr
    states = [sha256(place / output / f"checkpoint-{STEPS}" / "state.safetensors") for output in ("plain", "without")]
    assert states[0] == states[1]


# ---- wandb ----


def records(file):
    """The records of a .wandb file, which is a leveldb log: blocks of 32 KiB, in them pieces of crc, length, kind."""
    from wandb.proto import wandb_internal_pb2

    data = pathlib.Path(file).read_bytes()
    at, piece = 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", data[at:at + 7])
        piece = (piece if kind in (3, 4) else b"") + data[at + 7:at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(piece)
            yield record


def history(folder):
    rows = []
    for file in sorted(folder.glob("wandb/offline-run-*/run-*.wandb")):
        for record in records(file):
            if record.WhichOneof("record_type") == "history":
                rows.append({item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item})
    return rows


def test_wandb_gets_every_logged_step_once(place):
    done = run(place, "wandb", "--set", "report_to=[tensorboard, wandb]", train__max_train_steps=3)
    assert "wandb: offline: " in done.stderr and "warning" not in done.stderr
    done = run(place, "wandb", "--set", "report_to=[tensorboard, wandb]", env=SECRETS)
    rows = history(place / "wandb")
    numbers = {row["step"]: row for row in rows if "train/loss" in row}
    lines = {m["step"]: m for m in metrics(place / "wandb")}
    # Every second step; 3 as the last of the first attempt; all of them once.
    assert [row["step"] for row in rows if "train/loss" in row] == [2, 3, 4, 6]
    for step, row in numbers.items():
        for key in ("loss", "lr", "grad_norm", "images_per_second", "memory_bytes"):
            assert row["train/" + key] == lines[step][key]
        assert row["epoch"] == lines[step]["epoch"]
    pictures = [(row["step"], key.removesuffix(".caption"), row[key]) for row in rows for key in row if key.startswith("validation/") and key.endswith(".caption")]
    assert sorted(pictures) == sorted((step, f"validation/{i:03}-0", prompt) for step in (0, 3, 6) for i, prompt in enumerate(PROMPTS))
    ids = {record.run.run_id for file in (place / "wandb").glob("wandb/offline-run-*/run-*.wandb") for record in records(file) if record.WhichOneof("record_type") == "run"}
    assert len(ids) == 1, "the run that went on is the same run there"
    configs = {item.key: json.loads(item.value_json) for file in (place / "wandb").glob("wandb/offline-run-*/run-*.wandb") for record in records(file)
               if record.WhichOneof("record_type") == "run" for item in record.run.config.update}
    assert configs["train"]["train_batch_size"] == 2


def test_wandb_that_refuses_stops_the_run_before_its_first_step(place):
    """Nobody is logged in and it is not offline."""
    done = run(place, "refused", "--set", "report_to=[wandb]", code=70, env={"WANDB_MODE": "online", "HOME": str(place), "NETRC": str(place / "none")})
    assert re.search(r"^wandb: its client did not begin a run\. .+ → wandb login; or set WANDB_MODE=offline and upload later; or take wandb out of report_to  \[T2I-E8011\]$", done.stderr, re.M), done.stderr
    assert not (place / "refused" / "checkpoint-3").exists()


def fake_wandb(place, text):
    package = place / f"fake-{abs(hash(text))}"
    package.mkdir(exist_ok=True)
    (package / "wandb.py").write_text(text)
    return {"PYTHONPATH": str(package)}


def test_wandb_that_dies_takes_nothing_with_it(place, plain):
    env = fake_wandb(place, "import os\nclass Run:\n  url='x'; dir='.'\n  def define_metric(self, *a, **k): pass\n  def log(self, row):\n    print('key ' + os.environ['WANDB_API_KEY'], flush=True); raise RuntimeError('lost ' + os.environ['WANDB_API_KEY'])\n"
                     "def init(**k): return Run()\ndef Image(*a, **k): return 1\n")
    done = run(place, "dying", "--set", "report_to=[tensorboard, wandb]", env={**env, **SECRETS})
    assert done.stderr.count("warning: wandb") >= 1 and "lost ***" in done.stderr, done.stderr
    assert not any(secret in done.stderr + done.stdout for secret in SECRETS.values())
    assert sha256(place / "dying" / f"checkpoint-{STEPS}" / "state.safetensors") == sha256(place / "plain" / f"checkpoint-{STEPS}" / "state.safetensors")


# ---- the hub ----


@pytest.fixture(scope="module")
def uploaded(place):
    record = place / "record.json"
    done = run(place, "uploaded", "--set", "hub.repo=me/my-model", env={**SECRETS, "HF_RECORD": str(record)})
    return done, json.loads(record.read_text())


def test_final_goes_to_the_hub(place, uploaded):
    done, record = uploaded
    final = str(place / "uploaded" / "final")
    assert record["arguments"] == ["upload", "me/my-model", final, ".", "--private", "--commit-message", "t2i: 6 steps"]
    assert {"README.md", "samples/000.png", "samples/001.png", "model_index.json", "unet/config.json"} <= set(record["folder"])
    assert "uploaded: https://huggingface.co/me/my-model/tree/main" in done.stderr and done.stderr.splitlines()[-1].startswith("peak memory")
    for i in range(2):
        assert sha256(place / "uploaded" / "final" / "samples" / f"{i:03}.png") == sha256(place / "uploaded" / "validation_images" / "step-0000006" / f"{i:03}-0.png")


def test_the_arguments_are_those_of_the_real_client(uploaded):
    help_text = subprocess.run([pathlib.Path(sys.executable).parent / "hf", "upload", "--help"], capture_output=True, text=True, check=True).stdout
    for argument in uploaded[1]["arguments"]:
        assert not argument.startswith("--") or argument in re.findall(r"--[a-z-]+", help_text)
    assert "--no-private" in help_text and re.search(r"REPO_ID \[LOCAL_PATH\] \[PATH_IN_REPO\]", help_text)


def test_the_card_is_one_that_the_hub_reads(place, uploaded):
    from huggingface_hub import ModelCard

    text = (place / "uploaded" / "final" / "README.md").read_text()
    card = ModelCard(text)
    assert card.data.license == "creativeml-openrail-m" and card.data.library_name == "diffusers" and card.data.pipeline_tag == "text-to-image" and "t2i" in card.data.tags
    assert [(w.text if hasattr(w, "text") else w["text"]) for w in card.data.widget] == PROMPTS
    assert [w["output"]["url"] for w in card.data.to_dict()["widget"]] == ["samples/000.png", "samples/001.png"]
    assert str(place) not in text and "`model`" in text and "data.path: data\n" in text and "train.train_batch_size: 2\n" in text and "optimizer.learning_rate" not in text
    assert "<b>" not in re.sub(r"```.*?```", "", card.text, flags=re.S) and "&lt;b&gt;" in card.text
    from diffusers import DiffusionPipeline

    DiffusionPipeline.from_pretrained(place / "uploaded" / "final", safety_checker=None)


def test_an_adapter_of_an_editing_task(place, tmp_path):
    edit_folder(tmp_path / "model")
    record = tmp_path / "record.json"
    arguments = command(place, "x")
    arguments[arguments.index("--model") + 1], arguments[arguments.index("--output") + 1], arguments[arguments.index("--task") + 1] = str(tmp_path / "model"), str(tmp_path / "out"), "ip2p"
    arguments = [a for a in arguments if not a.startswith("data.columns")]
    arguments = [a for i, a in enumerate(arguments) if not (a == "--set" and (i + 1 == len(arguments) or arguments[i + 1] == "--set"))]
    arguments += settings(lora__rank=2, hub__repo="adapter-only", hub__private="false", hub__license="apache-2.0", validation__images=f"[{place}/data/1-in.png]")
    done = subprocess.run(arguments, capture_output=True, text=True, env={**ENVIRONMENT, "PATH": path_with(place), "HF_RECORD": str(record)}, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(record.read_text())["arguments"][1:5] == ["adapter-only", str(tmp_path / "out" / "final"), ".", "--no-private"]
    from huggingface_hub import ModelCard

    card = ModelCard((tmp_path / "out" / "final" / "README.md").read_text())
    assert card.data.license == "apache-2.0" and card.data.pipeline_tag == "image-to-image" and "lora" in card.data.tags and "load_lora_weights" in card.text
    sources = data_of(tmp_path / "out" / "report.html")["pictures"]["rows"]
    assert all(row["source"] is not None for row in sources)


def test_a_failing_upload_loses_nothing(place):
    record = place / "failed.json"
    failing = {**SECRETS, "HF_RECORD": str(record), "HF_FAILS": "1"}
    done = run(place, "not-uploaded", "--set", "hub.repo=me/my-model", code=74, env=failing)
    final = place / "not-uploaded" / "final"
    last = done.stderr.splitlines()[-1]
    assert last == (f"hub.repo: {final} is not uploaded to me/my-model: hf ended with 1. Error: 401 Client Error: Unauthorized for url: https://hub/api?token=*** (Authorization: Bearer ***). "
                    f"→ the run is done and final/ is whole: hf upload me/my-model {final} . --private --commit-message 't2i: 6 steps'; or give the same command again  [T2I-E8014]")
    typed = re.search(r"(hf upload .*); or", last)[1]
    record.unlink()
    subprocess.run(typed, shell=True, check=True, capture_output=True, env={**ENVIRONMENT, "PATH": path_with(place), "HF_RECORD": str(record)})
    assert json.loads(record.read_text())["arguments"][-1] == "t2i: 6 steps", "what the message says to type does it"
    (final / "README.md").write_text("my own card")
    again = run(place, "not-uploaded", "--set", "hub.repo=me/my-model", env={**failing, "HF_FAILS": ""})
    assert "uploaded: " in again.stderr and (final / "README.md").read_text() == "my own card"


def test_a_signal_ends_an_upload(place):
    (place / "slow").mkdir(exist_ok=True)
    (place / "slow" / "hf").write_text(f"#!{sys.executable}\nimport pathlib, time\npathlib.Path('{place}/slow/begun').write_text('')\ntime.sleep(600)\n")
    (place / "slow" / "hf").chmod(0o755)
    process = subprocess.Popen(command(place, "slow-upload", "--set", "hub.repo=me/my-model", validation__every_steps=0), stderr=subprocess.PIPE, text=True, env={**ENVIRONMENT, "PATH": f"{place}/slow:{path_with(place)}"})
    until = time.monotonic() + 120
    while not (place / "slow" / "begun").exists() and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 74 and "it was asked to stop" in said and "[T2I-E8014]" in said


def test_nobody_is_logged_in(place):
    env = {"HF_RECORD": str(place / "r.json"), "HF_HOME": str(place / "no-home")}
    done = run(place, "nobody", "--set", "hub.repo=me/my-model", env=env, train__max_train_steps=1, validation__every_steps=0)
    assert "notice: nobody is logged in for the upload to me/my-model when the run is done: hf auth login\n" in done.stderr
    done = run(place, "nobody", "--set", "hub.repo=me/my-model", env={**env, **SECRETS}, train__max_train_steps=2, validation__every_steps=0)
    assert "logged in" not in done.stderr


# ---- secrets ----


def test_no_token_is_written_or_said(place, uploaded):
    """Every file of the runs above that had them in their environment, and all that was said."""
    done = run(place, "secrets", "--set", "report_to=[tensorboard, wandb]", "--set", "hub.repo=me/my-model", code=74, env={**SECRETS, "HF_RECORD": str(place / "s.json"), "HF_FAILS": "1"})
    compared = subprocess.run([T2I, "compare", place / "secrets", place / "uploaded", "--output", place / "secrets" / "c.html"], capture_output=True, text=True, env={**os.environ, **SECRETS})
    assert compared.returncode == 0
    said = done.stdout + done.stderr + compared.stdout + compared.stderr + uploaded[0].stderr
    needles = [secret.encode() for secret in SECRETS.values()]
    assert not [n for n in needles if n in said.encode()]
    searched = 0
    for output in ("secrets", "uploaded", "wandb", "not-uploaded", "dying"):
        for path in (place / output).rglob("*"):
            if path.is_file():
                searched += 1
                content = path.read_bytes()
                assert not [n for n in needles if n in content], path
    names = {path.name for path in (place / "secrets").rglob("*")}
    assert searched > 60 and {"config.yaml", "events.jsonl", "report.html", "c.html", "data.json", "metrics.jsonl"} <= names and any(n.endswith(".wandb") for n in names)
