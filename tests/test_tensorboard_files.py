"""Event files that TensorBoard would not read, or read wrongly."""
import os
import pathlib
import subprocess

import pytest
from google.protobuf.unknown_fields import UnknownFieldSet
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.compat.proto.event_pb2 import Event

BUILD = pathlib.Path(os.environ.get("T2I_BUILD", pathlib.Path(__file__).parent.parent / "build"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("events")
    subprocess.run([BUILD / "bin" / "t2i_base_tests", "--gtest_filter=EventFile.*"], check=True, capture_output=True,
                   env={**os.environ, "T2I_TEST_OUTPUT": str(path)})
    return path


@pytest.fixture(scope="module")
def run(folder):
    accumulator = event_accumulator.EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    accumulator.Reload()
    return accumulator


def test_scalars_of_a_run(run):
    lr = run.Scalars("train/lr")
    assert [e.step for e in lr] == list(range(1, 11))  # those after the checkpoint are forgotten
    assert all(e.value == pytest.approx(1e-4, rel=1e-7) for e in lr)  # stored as float32
    assert set(run.Tags()["scalars"]) == {"train/loss", "train/raw_loss", "train/lr", "train/grad_norm", "train/images_per_second",
                                          "train/memory_bytes", "train/peak_memory_bytes", "train/grad/query", "x" * 300}
    assert run.Scalars("train/memory_bytes")[0].value == 2 * 2**30
    assert run.Scalars("train/peak_memory_bytes")[0].value == 3 * 2**30
    assert run.Scalars("train/grad/query")[0].value == -0.25
    assert [e.wall_time for e in lr] == sorted(e.wall_time for e in lr) and lr[0].wall_time > 1.7e9


def test_a_continuation_replaces_what_was_lost(run):
    loss = run.Scalars("train/loss")
    assert [e.step for e in loss] == list(range(1, 16))
    assert [e.value for e in loss[10:]] == [111, 112, 113, 114, 115]
    far = run.Scalars("x" * 300)[0]
    assert far.step == 2**40 and far.value == pytest.approx(-1e30)


def test_images(folder):
    import io

    import numpy
    from PIL import Image
    first = event_accumulator.EventAccumulator(str(sorted(folder.iterdir())[0]), size_guidance={"images": 0})
    first.Reload()
    (image,) = first.Images("validation/0")
    assert (image.width, image.height, image.step) == (4, 2, 20)
    assert (numpy.asarray(Image.open(io.BytesIO(image.encoded_image_string))) == 0x7F).all()


def test_records_by_the_book(folder):
    """Framing and checksums, read with an independent table-driven CRC-32C; every event is whole."""
    table = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
        table.append(n)

    def masked(data):
        crc = 0xFFFFFFFF
        for byte in data:
            crc = crc >> 8 ^ table[(crc ^ byte) & 255]
        crc ^= 0xFFFFFFFF
        return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF

    files = sorted(folder.iterdir())
    assert len(files) == 2
    for file in files:
        data, at, events = file.read_bytes(), 0, []
        while at < len(data):
            head = data[at:at + 8]
            length = int.from_bytes(head, "little")
            body = data[at + 12:at + 12 + length]
            assert int.from_bytes(data[at + 8:at + 12], "little") == masked(head)
            assert int.from_bytes(data[at + 12 + length:at + 16 + length], "little") == masked(body)
            events.append(Event.FromString(body))
            at += 16 + length
        assert events[0].file_version == "brain.Event:2"
        assert all(len(UnknownFieldSet(e)) == 0 for e in events)
