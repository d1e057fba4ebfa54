"""`t2i convert`: every layout from every other, read back by Hugging Face's datasets, by tarfile and by t2i itself.

Broken by: a picture that is not the same byte for byte, a caption, an order or a repeat that is lost, something overwritten, half a
data set where the conversion was killed.
"""

import hashlib
import json
import os
import pathlib
import signal
import subprocess
import tarfile

from data_makers import captioned_tree, golden, photo_tree, picture, triplets, write
from tiny import T2I, t2i

CAPTIONED = ["image_txt", "kohya", "imagefolder", "parquet", "webdataset"]


def convert(source, target, to, *args, code=0, **more):
    return t2i("convert", source, target, "--to", to, *args, code=code, **more)


def sha(data):
    return hashlib.sha256(data).hexdigest()


def content(path, columns):
    """The rows as t2i reads them: texts, and the hash of each picture's file. Through a conversion to imagefolder, unless it is one."""
    path = pathlib.Path(path)
    found = []
    for line in (path / "metadata.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        values = {}
        for name, is_image in columns.items():
            field = next(f for f in (["file_name"] if name == "image" else []) + [f"{name}_file_name", name] if f in row) if is_image else name
            values[name] = sha((path / row[field]).read_bytes()) if is_image else row[name]
        found.append(values)
    return found


TEXT = {"image": True, "text": False}
EDIT = {"input_image": True, "instruction": False, "output_image": True}


def through(path, tmp_path, columns, *args):
    """What the data are when written as an imagefolder."""
    target = tmp_path / f"read-{len(os.listdir(tmp_path))}"
    convert(path, target, "imagefolder", *args)
    return content(target, columns)


def test_captioned_data_from_each_layout_to_each_other(tmp_path):
    source = captioned_tree(tmp_path / "tree")
    wanted = through(source, tmp_path, TEXT)
    assert [r["text"] for r in wanted] == [f"caption number {i}" for i in (0, 1, 3, 4, 6, 7, 2, 5)]  # sub/ comes last
    for first in CAPTIONED:
        convert(source, tmp_path / first, first)
        assert through(tmp_path / first, tmp_path, TEXT) == wanted, first
        for second in CAPTIONED:
            convert(tmp_path / first, tmp_path / f"{first}-{second}", second)
            assert through(tmp_path / f"{first}-{second}", tmp_path, TEXT) == wanted, (first, second)


def test_triplets_to_each_layout_that_holds_them(tmp_path):
    source = triplets(tmp_path / "edits")
    wanted = content(source, EDIT)
    for first in ("triplets", "imagefolder", "parquet", "webdataset"):
        convert(source, tmp_path / first, first)
        convert(tmp_path / first, tmp_path / f"{first}-back", "triplets")
        assert content(tmp_path / f"{first}-back", EDIT) == wanted, first
    # As it was: the same names, the same lines, but for spaces and the order of keys.
    before, after = ([json.loads(line) for line in pathlib.Path(folder, "metadata.jsonl").read_text().splitlines()] for folder in (source, tmp_path / "triplets"))
    assert after == before
    error = convert(source, tmp_path / "no", "image_txt", code=78).stderr
    assert "E2141" in error and "input_image, output_image" in error
    assert "E2141" in convert(captioned_tree(tmp_path / "tree"), tmp_path / "no", "triplets", code=78).stderr
    assert not (tmp_path / "no").exists()


def test_real_photographs_stay_as_they_are(tmp_path):
    """JPEG, PNG with alpha, grey, palette: byte for byte, however often they are converted."""
    source = pathlib.Path(photo_tree(tmp_path / "photos"))
    wanted = {sha(p.read_bytes()) for p in source.iterdir() if p.suffix != ".txt"}
    for i, to in enumerate(["parquet", "webdataset", "kohya", "imagefolder", "parquet", "image_txt"]):
        convert(source, tmp_path / str(i), to)
        source = tmp_path / str(i)
    assert {sha(p.read_bytes()) for p in source.rglob("*") if p.is_file() and p.suffix != ".txt"} == wanted


def test_datasets_opens_parquet_with_its_features(tmp_path):
    import datasets
    source = triplets(tmp_path / "edits")
    convert(source, tmp_path / "parquet", "parquet")
    assert os.listdir(tmp_path / "parquet") == ["train-00000-of-00001.parquet"]
    loaded = datasets.load_dataset(str(tmp_path / "parquet"), cache_dir=str(tmp_path / "cache"))["train"]
    assert loaded.features == datasets.Features({"input_image": datasets.Image(), "instruction": datasets.Value("string"), "output_image": datasets.Image()})
    raw = loaded.cast_column("input_image", datasets.Image(decode=False)).cast_column("output_image", datasets.Image(decode=False))
    got = [{"input_image": sha(r["input_image"]["bytes"]), "instruction": r["instruction"], "output_image": sha(r["output_image"]["bytes"])} for r in raw]
    assert got == content(source, EDIT)
    assert raw[0]["input_image"]["path"] == "000.png"
    assert loaded[0]["input_image"].size == (16, 16)


def test_datasets_opens_imagefolder_and_webdataset(tmp_path):
    import datasets
    source = triplets(tmp_path / "edits")
    wanted = content(source, EDIT)
    convert(source, tmp_path / "folder", "imagefolder")
    loaded = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "folder"), cache_dir=str(tmp_path / "cache"))["train"]
    for name in ("input_image", "output_image"):
        loaded = loaded.cast_column(name, datasets.Image(decode=False))
    got = [{k: sha(pathlib.Path(r[k]["path"]).read_bytes() if not r[k]["bytes"] else r[k]["bytes"]) if EDIT[k] else r[k] for k in EDIT} for r in loaded]
    assert got == wanted
    tree = captioned_tree(tmp_path / "tree")
    convert(tree, tmp_path / "shards", "webdataset")
    loaded = datasets.load_dataset("webdataset", data_files=str(tmp_path / "shards/*.tar"), cache_dir=str(tmp_path / "cache"))["train"].cast_column("png", datasets.Image(decode=False))
    assert [{"image": sha(r["png"]["bytes"]), "text": r["txt"]} for r in loaded] == through(tree, tmp_path, TEXT)


def test_tarfile_reads_the_shards(tmp_path):
    """Names beyond 100 letters and beyond ASCII too; equal data give equal bytes."""
    folder = tmp_path / "tree"
    for name in ("a", "b" * 150, "größer-旅"):
        picture(folder / f"{name}.png", seed=len(name))
        write(folder / f"{name}.txt", f"of {name}")
    for target in ("one", "two"):
        convert(folder, tmp_path / target, "webdataset")
    with tarfile.open(tmp_path / "one/00000.tar") as tar:
        got = {m.name: tar.extractfile(m).read() for m in tar.getmembers()}
    assert got == {p.name: p.read_bytes() for p in folder.iterdir()}
    assert (tmp_path / "one/00000.tar").read_bytes() == (tmp_path / "two/00000.tar").read_bytes()


def test_repeats_are_kept_and_expanded(tmp_path):
    """kohya's folders: kept from kohya to kohya and through the layouts that write a row as often as it counts."""
    for folder, count in (("3_cats", 2), ("10_dogs", 1)):
        for i in range(count):
            picture(tmp_path / "kohya" / folder / f"{i}.png", seed=10 * count + i)
            write(tmp_path / "kohya" / folder / f"{i}.caption", f"{folder} {i}")
    said = convert(tmp_path / "kohya", tmp_path / "again", "kohya").stdout
    assert "3 rows (16 an epoch with their repeats)" in said
    assert sorted(str(p.relative_to(tmp_path / "again")) for p in (tmp_path / "again").rglob("*.png")) == ["10_dogs/0.png", "3_cats/0.png", "3_cats/1.png"]
    assert (tmp_path / "again/3_cats/1.txt").read_text() == "3_cats 1"
    wanted = ["10_dogs 0"] * 10 + ["3_cats 0"] * 3 + ["3_cats 1"] * 3
    for to in ("imagefolder", "parquet", "webdataset", "image_txt"):
        convert(tmp_path / "kohya", tmp_path / to, to)
        assert [r["text"] for r in through(tmp_path / to, tmp_path, TEXT)] == wanted, to
        convert(tmp_path / to, tmp_path / f"{to}-kohya", "kohya", "--name", "mine")
        if to == "imagefolder":  # rows that share their picture are one row that repeats
            assert sorted(os.listdir(tmp_path / f"{to}-kohya")) == ["10_mine", "3_mine"]
    convert(tmp_path / "kohya", tmp_path / "once", "imagefolder", "--once")
    assert len(content(tmp_path / "once", TEXT)) == 3


def test_columns_of_a_task_under_its_names(tmp_path):
    source = triplets(tmp_path / "edits")
    convert(source, tmp_path / "text", "image_txt", "--task", "text", "--set", "data.columns={image: output_image, text: instruction}")
    wanted = [{"image": r["output_image"], "text": r["instruction"]} for r in content(source, EDIT)]
    assert through(tmp_path / "text", tmp_path, TEXT) == wanted


def test_links_share_their_bytes_and_copies_do_not(tmp_path):
    source = captioned_tree(tmp_path / "tree")
    assert "8 pictures linked" in convert(source, tmp_path / "linked", "imagefolder", "--link").stdout
    assert "8 pictures" in convert(source, tmp_path / "copied", "imagefolder").stdout
    inode = os.stat(tmp_path / "tree/0000.png").st_ino
    assert os.stat(tmp_path / "linked/0000.png").st_ino == inode
    assert os.stat(tmp_path / "copied/0000.png").st_ino != inode


def test_bad_rows_stop_it_or_are_left_out(tmp_path):
    source = captioned_tree(tmp_path / "tree")
    os.remove(tmp_path / "tree/0001.txt")
    assert "E3003" in convert(source, tmp_path / "out", "imagefolder", code=65).stderr
    assert not (tmp_path / "out").exists() and not [p for p in os.listdir(tmp_path) if p.startswith(".")]
    done = convert(source, tmp_path / "out", "imagefolder", "--set", "data.on_error=skip")
    assert "left out 1 row" in done.stderr and len(content(tmp_path / "out", TEXT)) == 7


def test_nothing_is_overwritten(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    captioned_tree("tree")
    os.mkdir("there")
    write("file", "x")
    texts = [convert("tree", target, "imagefolder", code=64).stderr for target in ("there", "file")]
    golden("convert_there_already", "".join(texts))
    assert os.listdir("there") == [] and open("file").read() == "x"


def test_a_killed_conversion_leaves_nothing_to_be_taken_for_data(tmp_path):
    source = captioned_tree(tmp_path / "tree")
    killed = subprocess.run([str(T2I), "convert", source, str(tmp_path / "out"), "--to", "imagefolder"], env={**os.environ, "T2I_KILL_POINT": "convert-rename:1"})
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists() and (tmp_path / ".out.converting").exists()
    convert(source, tmp_path / "out", "imagefolder")
    assert not (tmp_path / ".out.converting").exists() and len(content(tmp_path / "out", TEXT)) == 8


def test_a_full_disk_leaves_nothing(tmp_path):
    """Stood for by a limit on the size of files: 20 kB are too little for a table, for a shard and for a list of rows."""
    import resource
    source = captioned_tree(tmp_path / "tree", count=60)
    for to, id_ in (("parquet", "E2136"), ("webdataset", "E4101"), ("imagefolder", "E4101")):
        limit = 20_000 if to != "imagefolder" else 1000
        done = subprocess.run([str(T2I), "convert", source, str(tmp_path / "out"), "--to", to], capture_output=True, text=True,
                              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
        assert done.returncode == 74 and id_ in done.stderr, (to, done.stderr)
        assert not (tmp_path / "out").exists() and not (tmp_path / ".out.converting").exists()


def test_two_at_once(tmp_path):
    """While one writes, which holds the lock of its folder, another is told so and leaves the first alone."""
    import fcntl
    source = captioned_tree(tmp_path / "tree")
    os.mkdir(tmp_path / ".out.converting")
    writer = os.open(tmp_path / ".out.converting", os.O_RDONLY)
    fcntl.flock(writer, fcntl.LOCK_EX)
    assert "E2142" in convert(source, tmp_path / "out", "imagefolder", code=73).stderr
    assert (tmp_path / ".out.converting").exists()
    os.close(writer)
    convert(source, tmp_path / "out", "imagefolder")


def test_usage(tmp_path):
    assert "did you mean parquet" in t2i("convert", "a", "b", "--to", "parket", code=64).stderr
    assert "DST is missing" in t2i("convert", "a", "--to", "parquet", code=64).stderr
    assert "--to is missing" in t2i("convert", "a", "b", code=64).stderr
    assert "leave it out" in t2i("convert", "a", "b", "--to", "parquet", "--link", code=64).stderr
