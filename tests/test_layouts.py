"""The same data in every layout that is read are the same training: two steps with equal losses, bit for bit.

The layouts are written by other programs: Hugging Face's datasets (Parquet, save_to_disk, imagefolder), Python's tarfile in three
formats, and by hand. Broken by: another order of rows, a caption that is cut or joined, pixels that went through an encoder.
"""

import io
import json
import os
import pathlib
import shutil
import subprocess
import tarfile

import pytest
from data_makers import captioned_tree, photo_tree, picture, rows, triplets, write
from tiny import BUILD, T2I, edit_folder, metrics, sd_folder, settings, t2i

STEPS = settings(train__max_train_steps=2, train__train_batch_size=2, train__gradient_accumulation_steps=1, train__mixed_precision="no",
                 train__gradient_checkpointing="false", train__seed=3, data__resolution=16, train__device="cpu", train__num_threads=1, checkpoint__every_steps=0,
                 validation__every_steps=0, report_to="[]")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {"text": sd_folder(folder / "text"), "ip2p": edit_folder(folder / "edit")}


def losses(models, task, data, output, *more):
    t2i("run", "--model", models[task], "--task", task, "--data", data, "--output", output, *STEPS, *more)
    return [(line["loss"], line["raw_loss"]) for line in metrics(output)]


def as_tree(source):
    """(name, picture, caption) in the order of the sorted paths."""
    return [(str(p.relative_to(source)), p.read_bytes(), p.with_suffix(".txt").read_text()) for p in sorted(pathlib.Path(source).rglob("*")) if p.suffix in (".png", ".jpg")]


def hugging_face(samples):
    import datasets
    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    return datasets.Dataset.from_dict({"image": [{"bytes": b, "path": None} for _, b, _ in samples], "text": [t for _, _, t in samples]}, features=features)


def tar(path, samples, format_, ending="txt", json_too=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=format_) as out:
        for i, (name, data, text) in enumerate(samples):
            parts = [(name, data)]
            parts += [(f"{i}.json", json.dumps({"text": text, "width": 3}).encode())] if json_too else [(os.path.splitext(name)[0] + f".{ending}", text.encode())]
            if json_too:
                parts[0] = (f"{i}{os.path.splitext(name)[1]}", data)
            for member, content in parts:
                info = tarfile.TarInfo(member)
                info.size = len(content)
                out.addfile(info, io.BytesIO(content))


MAKERS = {}


def layout(make):
    MAKERS[make.__name__] = make
    return make


@layout
def imagefolder(samples, folder):
    for name, data, _ in samples:
        write(folder / name, data)
    rows(folder / "metadata.jsonl", *[{"file_name": name, "text": text} for name, _, text in samples])


@layout
def captions_of_the_other_ending(samples, folder):
    for name, data, text in samples:
        write(folder / name, data)
        write((folder / name).with_suffix(".caption"), text)


@layout
def folders_of_one_repeat(samples, folder):
    for i, (name, data, text) in enumerate(samples):
        write(folder / "1_things" / f"{i:03}{os.path.splitext(name)[1]}", data)
        write(folder / "1_things" / f"{i:03}.txt", text)


@layout
def parquet_of_datasets(samples, folder):
    os.makedirs(folder / "data")
    whole = hugging_face(samples)
    for i in range(2):  # in two files
        whole.shard(2, i, contiguous=True).to_parquet(folder / f"data/train-0000{i}-of-00002.parquet", batch_size=3)


@layout
def saved_to_disk(samples, folder):
    hugging_face(samples).save_to_disk(folder, num_shards=2)


@layout
def saved_splits(samples, folder):
    import datasets
    whole = hugging_face(samples)
    datasets.DatasetDict({"train": whole, "test": whole.select([0])}).save_to_disk(folder)


@layout
def shards_of_ustar(samples, folder):
    tar(folder / "0.tar", samples[:3], tarfile.USTAR_FORMAT)
    tar(folder / "1.tar", samples[3:], tarfile.USTAR_FORMAT)


@layout
def shards_of_pax_with_long_names(samples, folder):
    tar(folder / "0.tar", [("deep/" * 30 + name, data, text) for name, data, text in samples], tarfile.PAX_FORMAT)


@layout
def shards_of_gnu_with_json(samples, folder):
    tar(folder / "0.tar", samples, tarfile.GNU_FORMAT, json_too=True)


def test_captioned_data_in_every_layout(models, tmp_path):
    source = captioned_tree(tmp_path / "tree", count=7)
    samples = as_tree(source)
    wanted = losses(models, "text", source, tmp_path / "run-tree")
    assert len(wanted) == 2 and len(set(wanted)) == 2
    for name, make in MAKERS.items():
        os.makedirs(tmp_path / name, exist_ok=True)
        make(samples, tmp_path / name)
        assert losses(models, "text", tmp_path / name, tmp_path / f"run-{name}") == wanted, name
    # One file of several, shards by a pattern, and what convert writes.
    assert losses(models, "text", tmp_path / "shards_of_pax_with_long_names/0.tar", tmp_path / "run-file") == wanted
    assert losses(models, "text", f"{tmp_path}/shards_of_ustar/{{0..1}}.tar", tmp_path / "run-braces") == wanted
    for to in ("parquet", "webdataset", "kohya", "image_txt"):
        t2i("convert", source, tmp_path / f"to-{to}", "--to", to)
        assert losses(models, "text", tmp_path / f"to-{to}", tmp_path / f"run-to-{to}") == wanted, to
    # And it is the data that is compared: another caption shows.
    write(tmp_path / "tree/0000.txt", "something else")
    write(tmp_path / "tree/0001.txt", "something else")
    assert losses(models, "text", source, tmp_path / "run-other", *settings(train__max_train_steps=6)) != wanted


def test_triplets_in_every_layout(models, tmp_path):
    source = triplets(tmp_path / "edits", count=5)
    wanted = losses(models, "ip2p", source, tmp_path / "run")
    for to in ("imagefolder", "triplets", "parquet", "webdataset"):
        t2i("convert", source, tmp_path / to, "--to", to)
        assert losses(models, "ip2p", tmp_path / to, tmp_path / f"run-{to}") == wanted, to
    # Columns of another name, as fusing/instructpix2pix-1000-samples has them.
    import datasets
    loaded = datasets.load_dataset(str(tmp_path / "parquet"), cache_dir=str(tmp_path / "cache"))["train"]
    loaded = loaded.rename_columns({"input_image": "original", "instruction": "edit_prompt", "output_image": "edited"})
    os.makedirs(tmp_path / "renamed")
    loaded.to_parquet(tmp_path / "renamed/train.parquet")
    columns = ["--set", "data.columns={input_image: original, instruction: edit_prompt, output_image: edited}"]
    assert losses(models, "ip2p", tmp_path / "renamed", tmp_path / "run-renamed", *columns) == wanted


def test_repeats_are_rows(models, tmp_path):
    """2_name is the same training as a metadata.jsonl that names each picture twice."""
    samples = as_tree(captioned_tree(tmp_path / "tree", count=4))
    for i, (_, data, text) in enumerate(samples):
        for folder in ("2_kohya", "plain"):
            write(tmp_path / "all" / folder / f"{i}.png", data)
        write(tmp_path / f"all/2_kohya/{i}.txt", text)
    shutil.move(tmp_path / "all/plain", tmp_path / "plain")
    rows(tmp_path / "plain/metadata.jsonl", *[{"file_name": f"{i}.png", "text": text} for i, (_, _, text) in enumerate(samples) for _ in range(2)])
    assert losses(models, "text", tmp_path / "all", tmp_path / "run-kohya") == losses(models, "text", tmp_path / "plain", tmp_path / "run-plain")
    once = losses(models, "text", tmp_path / "all", tmp_path / "run-once", "--set", "data.folder_repeats=false")
    assert once == losses(models, "text", tmp_path / "tree", tmp_path / "run-tree")


def test_real_photographs_through_a_table(models, tmp_path):
    source = photo_tree(tmp_path / "photos")
    wanted = losses(models, "text", source, tmp_path / "run")
    t2i("convert", source, tmp_path / "parquet", "--to", "parquet")
    assert losses(models, "text", tmp_path / "parquet", tmp_path / "run-parquet") == wanted


def test_the_number_of_workers_changes_nothing(models, tmp_path):
    source = captioned_tree(tmp_path / "tree", count=7)
    for to in ("parquet", "webdataset"):
        t2i("convert", source, tmp_path / to, "--to", to)
        runs = [losses(models, "text", tmp_path / to, tmp_path / f"{to}-{workers}", *settings(data__num_workers=workers)) for workers in (0, 1, 4)]
        assert runs[0] == runs[1] == runs[2], to


def test_plan_reads_them_too(models, tmp_path):
    source = captioned_tree(tmp_path / "tree", count=7)
    t2i("convert", source, tmp_path / "parquet", "--to", "parquet")
    plan = json.loads(t2i("plan", "--model", models["text"], "--data", tmp_path / "parquet", "--json", *STEPS).stdout)
    assert plan["data"]["samples"] == 7, plan["data"]


def test_tables_that_cannot_be_read(tmp_path):
    write(tmp_path / "set/train.parquet", b"PAR1" + bytes(100))
    assert "T2I-E2135" in t2i("validate", tmp_path / "set", code=65).stderr
    picture(tmp_path / "tree/a.png")
    write(tmp_path / "tree/a.txt", "x")
    t2i("convert", tmp_path / "tree", tmp_path / "good", "--to", "parquet")
    whole = (tmp_path / "good/train-00000-of-00001.parquet").read_bytes()
    for share in (0.3, 0.6, 0.95):
        write(tmp_path / "set/train.parquet", whole[: int(share * len(whole))])
        assert "T2I-E2135" in t2i("validate", tmp_path / "set", code=65).stderr
    import datasets
    import pyarrow
    import pyarrow.parquet
    table = pyarrow.table({"image": pyarrow.array([{"bytes": None, "path": "a.png"}], pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])), "text": ["x"]})
    pyarrow.parquet.write_table(table, tmp_path / "set/train.parquet")
    said = t2i("validate", tmp_path / "set", code=65)
    assert "the path of a picture, 'a.png', and not its bytes" in said.stdout
    saved = datasets.load_dataset(str(tmp_path / "good"), cache_dir=str(tmp_path / "cache"))["train"].select([0, 0])
    saved.save_to_disk(tmp_path / "saved")
    file = next((tmp_path / "saved").glob("*.arrow"))
    before = file.read_bytes()
    for at in range(0, len(before), max(1, len(before) // 40)):  # never a crash
        file.write_bytes(before[:at] + bytes([before[at] ^ 0xFF]) + before[at + 1 :])
        done = t2i_any("validate", tmp_path / "saved", "--decode")
        assert done.returncode in (0, 65), (at, done.stderr)
        file.write_bytes(before[:at])
        done = t2i_any("validate", tmp_path / "saved", "--decode")
        assert done.returncode in (0, 65), (at, done.stderr)


def t2i_any(*args):
    return subprocess.run([str(T2I), *map(str, args)], capture_output=True, text=True, timeout=100)


def test_without_the_plugin_it_says_what_to_do(tmp_path):
    """A copy of the program without lib/t2i/t2i-arrow.so."""
    home = tmp_path / "installed"
    os.makedirs(home / "bin")
    os.makedirs(home / "lib/t2i")
    shutil.copy(BUILD / "bin/t2i", home / "bin/t2i")
    shutil.copy(BUILD / "lib/libt2i_engine.so", home / "lib/libt2i_engine.so")
    write(tmp_path / "train.parquet", b"PAR1")
    done = subprocess.run([str(home / "bin/t2i"), "validate", str(tmp_path / "train.parquet")], capture_output=True, text=True, env={**os.environ, "HOME": str(tmp_path)})
    assert done.returncode == 66, done.stderr
    assert "T2I-E2132" in done.stderr and "install pyarrow" in done.stderr
