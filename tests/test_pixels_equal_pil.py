"""Pictures read, turned, resized and cut by core/data against Pillow, pixel for pixel.

Reference: ImageOps.exif_transpose(Image.open(f)).convert("RGB"), then Image.resize and crop. Tolerance: none. JPEG and
WebP are decoded by the same libraries in other versions (Pillow brings its own), and their default decoders give the
same bits. The one intended difference, 16-bit grey, is compared with its high byte.
Broken by: another DCT or upsampling, inverted inks, a wrong EXIF table, another rounding in the filters.
"""
import io
import itertools
import os
import resource
import struct
import subprocess
import zlib

import numpy as np
import PIL
import pytest
import skimage
from PIL import Image, ImageOps, PngImagePlugin

pytestmark = pytest.mark.filterwarnings("ignore:Palette images with Transparency")  # what is wanted here
PROBE = os.path.join(os.environ.get("T2I_BUILD", "build"), "bin", "data_probe")
PHOTOS = os.path.join(os.path.dirname(skimage.__file__), "data")
FILTERS = {"bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC, "lanczos": Image.LANCZOS}


def probe(*args):
    return subprocess.run([PROBE, *map(str, args)], capture_output=True, text=True)


def read(path, tmp_path, *resize):
    """Pixels and notes as the data room gives them."""
    out = tmp_path / "out.raw"
    done = probe("resize" if resize else "decode", path, out, *resize)
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    width, height = map(int, lines[0].split())
    return np.fromfile(out, np.uint8).reshape(height, width, 3), lines[1:]


def reference(path):
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def assert_equal(got, wanted):
    assert got.shape == wanted.shape
    assert np.array_equal(got, wanted), f"differs by up to {np.abs(got.astype(int) - wanted).max()}"


def photo(width=157, height=111):
    """A piece of a real photograph, with fine detail and strong colours."""
    with Image.open(os.path.join(PHOTOS, "coffee.png")) as image:
        return image.convert("RGB").crop((150, 100, 150 + width, 100 + height))


@pytest.mark.parametrize("name", sorted(n for n in os.listdir(PHOTOS) if n.endswith((".png", ".jpg"))))
def test_photographs(name, tmp_path):
    path = os.path.join(PHOTOS, name)
    assert_equal(read(path, tmp_path)[0], reference(path))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg(mode, tmp_path):
    path = tmp_path / "a.jpg"
    for subsampling, progressive, quality, size in itertools.product([0, 1, 2, "4:1:1"], [False, True], [30, 95],
                                                                     [(157, 111), (16, 16), (1, 1), (17, 3)]):
        photo(*size).convert(mode).save(path, quality=quality, subsampling=subsampling, progressive=progressive,
                                        restart_marker_rows=2 if quality == 30 else 0)
        got, notes = read(path, tmp_path)
        assert_equal(got, reference(path))
        assert notes == {"RGB": [], "L": ["grey made RGB"], "CMYK": ["CMYK converted to RGB without its colour profile"]}[mode]


def test_jpeg_ycck(tmp_path):
    # Pillow writes CMYK; the same file with the Adobe marker's transform byte at 2 is YCCK to every reader.
    path = tmp_path / "a.jpg"
    photo().convert("CMYK").save(path, quality=90)
    data = bytearray(path.read_bytes())
    data[data.index(b"Adobe") + 11] = 2
    before = reference(path)
    path.write_bytes(data)
    assert not np.array_equal(reference(path), before)  # the marker is believed
    assert_equal(read(path, tmp_path)[0], reference(path))


def test_jpeg_subsampled_in_height_only(tmp_path):
    # 4:4:0, which Pillow cannot write: a square 4:2:2 file with its sampling factors exchanged has as many blocks.
    path = tmp_path / "a.jpg"
    photo(96, 96).save(path, quality=90, subsampling=1)
    data = bytearray(path.read_bytes())
    frame = data.index(b"\xff\xc0")
    assert data[frame + 11] == 0x21
    data[frame + 11] = 0x12
    path.write_bytes(data)
    assert_equal(read(path, tmp_path)[0], reference(path))


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_webp(mode, tmp_path):
    path = tmp_path / "a.webp"
    for lossless, exact, quality, size in itertools.product([False, True], [False, True], [10, 90], [(157, 111), (1, 1), (16, 17)]):
        image = photo(*size).convert(mode)
        if mode == "RGBA":
            image.putalpha(Image.fromarray((np.indices(size[::-1]).sum(0) * 3 % 256).astype(np.uint8)))
        image.save(path, lossless=lossless, exact=exact, quality=quality)
        got, notes = read(path, tmp_path)
        assert_equal(got, reference(path))
        assert notes == (["transparency dropped"] if mode == "RGBA" else [])


# ---- PNG: every colour type, depth and interlacing, from an encoder of our own ----

def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def packed_rows(samples, depth):
    """Scan lines (filter type 0) of samples[y, x, channel]."""
    rows = []
    for row in samples:
        flat = row.reshape(-1)
        if depth == 16:
            line = flat.astype(">u2").tobytes()
        elif depth == 8:
            line = flat.astype(np.uint8).tobytes()
        else:
            bits = ((flat[:, None] >> np.arange(depth - 1, -1, -1)) & 1).astype(np.uint8).reshape(-1)
            line = np.packbits(bits).tobytes()
        rows.append(b"\0" + line)
    return b"".join(rows)


ADAM7 = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]


def make_png(samples, colour, depth, interlaced=False, before=b"", after=b""):
    height, width = samples.shape[:2]
    parts = [samples[y::dy, x::dx] for y, x, dy, dx in ADAM7] if interlaced else [samples]
    body = zlib.compress(b"".join(packed_rows(p, depth) for p in parts if p.size))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)) +
            before + chunk(b"IDAT", body[:100]) + chunk(b"IDAT", body[100:]) + after + chunk(b"IEND", b""))


PNG_KINDS = [(0, d) for d in (1, 2, 4, 8, 16)] + [(3, d) for d in (1, 2, 4, 8)] + [(c, d) for c in (2, 4, 6) for d in (8, 16)]


@pytest.mark.parametrize("colour,depth", PNG_KINDS)
def test_png_kinds(colour, depth, tmp_path):
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    rng = np.random.default_rng(colour * 100 + depth)
    path = tmp_path / "a.png"
    for (height, width), interlaced, transparent in itertools.product([(13, 29), (1, 1), (5, 3)], [False, True], [False, True]):
        samples = rng.integers(0, 2 ** depth, (height, width, channels))
        before = chunk(b"PLTE", rng.integers(0, 256, 3 * 2 ** depth, dtype=np.uint8).tobytes()) if colour == 3 else b""
        if transparent:
            before += {0: chunk(b"tRNS", struct.pack(">H", 1)), 2: chunk(b"tRNS", struct.pack(">HHH", 1, 2, 3)),
                       3: chunk(b"tRNS", bytes([0, 128]))}.get(colour, b"")
        path.write_bytes(make_png(samples, colour, depth, interlaced, before))
        got, notes = read(path, tmp_path)
        if colour == 0 and depth == 16:  # Pillow clips at 255 here
            assert_equal(got, np.repeat(samples >> 8, 3, axis=2).astype(np.uint8))
        else:
            assert_equal(got, reference(path))
        assert ("16 bits a channel reduced to 8" in notes) == (depth == 16)
        assert ("transparency dropped" in notes) == (colour in (4, 6) or transparent and colour in (0, 2, 3))
        assert ("grey made RGB" in notes) == (colour in (0, 4))
        assert ("palette made RGB" in notes) == (colour == 3)


# ---- which way up ----

def exif_of(orientation, endian="<"):
    exif = Image.Exif()
    exif.endian = endian
    exif[0x010F] = "a maker before the tag in question"
    exif[0x0112] = orientation
    exif[0x8298] = "and somebody after it"
    return exif


@pytest.mark.parametrize("extension", ["jpg", "png", "webp"])
def test_exif_orientations(extension, tmp_path):
    path = tmp_path / f"a.{extension}"
    for orientation, endian in itertools.product(range(0, 10), "<>"):
        photo(40, 24).save(path, exif=exif_of(orientation, endian), **({"lossless": True} if extension == "webp" else {}))
        got, notes = read(path, tmp_path)
        assert_equal(got, reference(path))
        assert got.shape[:2] == ((40, 24) if 5 <= orientation <= 8 else (24, 40))
        assert any("EXIF" in note for note in notes) == (2 <= orientation <= 8)


def test_orientation_elsewhere(tmp_path):
    path = tmp_path / "a.png"
    xmp = '<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    data = exif_of(8).tobytes()
    profile = f"\nexif\n{len(data):8}\n" + "\n".join(data.hex()[i:i + 72] for i in range(0, 2 * len(data), 72)) + "\n"
    makers = {
        "XMP in a PNG": lambda info: info.add_itxt("XML:com.adobe.xmp", xmp),
        "XMP in a PNG, compressed": lambda info: info.add_itxt("XML:com.adobe.xmp", xmp, zip=True),
        "EXIF as text in a PNG": lambda info: info.add_text("Raw profile type exif", profile),
        "EXIF as text in a PNG, compressed": lambda info: info.add_text("Raw profile type exif", profile, zip=True),
    }
    for name, make in makers.items():
        info = PngImagePlugin.PngInfo()
        make(info)
        photo(40, 24).save(path, pnginfo=info)
        got = read(path, tmp_path)[0]
        assert got.shape == (40, 24, 3), name
        assert_equal(got, reference(path))
    # After the pixels, where the standard allows it too.
    samples = np.asarray(photo(40, 24))
    path.write_bytes(make_png(samples, 2, 8, after=chunk(b"eXIf", exif_of(5).tobytes()[6:])))
    assert_equal(read(path, tmp_path)[0], reference(path))
    assert read(path, tmp_path)[0].shape == (40, 24, 3)
    for extension in ("jpg", "webp"):
        path = tmp_path / f"a.{extension}"
        photo(40, 24).save(path, xmp=xmp.encode())
        assert read(path, tmp_path)[0].shape == (40, 24, 3)
        assert_equal(read(path, tmp_path)[0], reference(path))


# ---- resize, crop, flip ----

def pil_resize(image, size, filter_):
    """Image.resize of Pillow 13, whose order of the two passes depends on the sizes; older ones go across first."""
    (width, height), (new_width, new_height) = image.size, size
    down_first = new_height < height and height - new_height > 2 * (width - new_width)
    if down_first and int(PIL.__version__.split(".")[0]) < 13:
        return image.resize((width, new_height), filter_).resize(size, filter_)
    return image.resize(size, filter_)


@pytest.mark.parametrize("name", FILTERS)
def test_resize(name, tmp_path):
    rng = np.random.default_rng(3)
    path = tmp_path / "a.png"
    sizes = [((400, 300), (512, 512)), ((157, 111), (64, 64)), ((64, 64), (157, 111)), ((300, 300), (299, 301)),
             ((100, 1000), (64, 640)), ((1000, 100), (640, 64)), ((37, 41), (1, 1)), ((1, 1), (9, 5)), ((2, 3), (200, 1)),
             ((550, 660), (512, 512)), ((200, 200), (180, 159)), ((200, 200), (180, 160)), ((200, 200), (180, 161))]
    sizes += [(tuple(map(int, rng.integers(1, 300, 2))), tuple(map(int, rng.integers(1, 300, 2)))) for _ in range(60)]
    for before, after in sizes:
        Image.fromarray(rng.integers(0, 256, (*before[::-1], 3), dtype=np.uint8)).save(path, compress_level=1)
        with Image.open(path) as image:
            wanted = np.asarray(pil_resize(image, after, FILTERS[name]))
        got = read(path, tmp_path, *after, name)[0]
        assert np.array_equal(got, wanted), (before, after)
    for name_of_photo in ("chelsea.png", "retina.jpg"):
        path = os.path.join(PHOTOS, name_of_photo)
        with Image.open(path) as image:
            wanted = np.asarray(pil_resize(image.convert("RGB"), (256, 200), FILTERS[name]))
        assert_equal(read(path, tmp_path, 256, 200, name)[0], wanted)


def as_tensor(pixels):
    """torchvision's ToTensor and Normalize([0.5], [0.5]), in float32 as they do it."""
    x = pixels.astype(np.float32).transpose(2, 0, 1) / np.float32(255)
    return (x - np.float32(0.5)) / np.float32(0.5)


def test_sample_is_resized_cropped_and_mirrored(tmp_path):
    """Resize to the short side as torchvision (int(size * long / short)), CenterCrop (round half to even), flip."""
    path, out = tmp_path / "a.png", tmp_path / "out.raw"
    flips = 0
    for (width, height), size, center in itertools.product([(157, 111), (111, 157), (64, 64), (333, 100), (99, 300)], [64, 97],
                                                           [0, 1]):
        photo(width, height).save(path)
        with Image.open(path) as image:
            short, long = min(width, height), max(width, height)
            longer = int(size * long / short)
            resized = pil_resize(image, (size, longer) if width <= height else (longer, size), Image.LANCZOS)
        done = probe("sample", path, out, size, f"center={center}", "flip=1", "seed=3", f"sample={width + size}")
        assert done.returncode == 0, done.stdout
        words = done.stdout.split()
        assert words[2] == f"{resized.width}x{resized.height}"
        top, left = map(int, words[4].split(","))
        if center:
            assert (top, left) == (round((resized.height - size) / 2.0), round((resized.width - size) / 2.0))
        pixels = np.asarray(resized)[top:top + size, left:left + size]
        if "flipped" in words:
            flips += 1
            pixels = pixels[:, ::-1]
        got = np.fromfile(out, np.float32).reshape(3, size, size)
        assert np.array_equal(got, as_tensor(pixels)), (width, height, size, center)
    assert 0 < flips < 20


# ---- broken, lying, hostile ----

def test_cut_files_are_named_with_their_share(tmp_path):
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (400, 300, 3), dtype=np.uint8))
    for extension, options in {"jpg": {"quality": 90}, "png": {}, "webp": {"lossless": True}}.items():
        path = tmp_path / f"a.{extension}"
        noise.save(path, **options)
        whole = path.read_bytes()
        for share in (0.25, 0.5, 0.71, 0.95):
            path.write_bytes(whole[:int(share * len(whole))])
            with pytest.raises(OSError):
                with Image.open(path) as image:
                    image.load()
            done = probe("decode", path, tmp_path / "out")
            assert done.returncode == 65
            assert "[T2I-E3001]" in done.stdout
            percent = int(done.stdout.split("after ")[1].split(" %")[0])
            assert abs(percent - 100 * share) < 8, done.stdout  # the decoders work in stripes of rows


def test_a_name_may_lie(tmp_path):
    for said, really in itertools.permutations(["jpg", "png", "webp"], 2):
        path = tmp_path / f"a.{said}"
        photo().save(path, format={"jpg": "jpeg"}.get(really, really))
        got, notes = read(path, tmp_path)
        assert_equal(got, reference(path))
        assert len(notes) == 1 and notes[0].startswith(f"named .{said} but ")


def frugal(*args, megabytes):
    """Exit code, output and seconds of processor time of a run that may map so much memory in all and no more."""
    limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))
    process = subprocess.Popen([PROBE, *map(str, args)], stdout=subprocess.PIPE, text=True, preexec_fn=limit)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    return process.returncode, output, usage.ru_utime + usage.ru_stime


def zeros_png(width, height):
    """width × height black RGB pixels; one deflate block repeated, so that making it takes no time."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = squeeze.compress(bytes(6_000_000)) + squeeze.flush(zlib.Z_FULL_FLUSH)
    body = b"\x78\xda" + piece * (height * (1 + 3 * width) // 6_000_000 + 1)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) +
            chunk(b"IDAT", body) + chunk(b"IEND", b""))


def progressive_bomb(scans):
    """A progressive JPEG of 16,000 × 11,000 grey pixels whose scans carry nothing."""
    head = b"\xff\xd8" + b"\xff\xdb\x00\x43\x00" + bytes([1] * 64)
    head += b"\xff\xc2" + struct.pack(">HBHHB", 11, 8, 11000, 16000, 1) + b"\x01\x11\x00"
    head += b"\xff\xc4\x00\x14\x10" + bytes([1] + [0] * 15) + b"\xe0"  # one AC code: a run of 2^14 blocks without data
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x01\x3f\x00" + b"\x00" * 400
    return head + scan * scans + b"\xff\xd9"


def test_bombs_cost_nothing(tmp_path):
    path = tmp_path / "a.bin"
    photo(8, 8).save(path, format="webp")
    webp = bytearray(path.read_bytes())
    frame = webp.index(b"\x9d\x01\x2a") + 3
    webp[frame:frame + 4] = struct.pack("<HH", 16383, 16383)
    bombs = {
        "20,000 x 20,000 PNG": zeros_png(20000, 20000),
        "65,501 x 1 PNG": zeros_png(65501, 1),
        "largest PNG header": b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 16, 6, 0, 0, 1)),
        "JPEG of 600 scans": progressive_bomb(600),
        "JPEG of 100 large scans": progressive_bomb(100),
        "16,383 x 16,383 WebP": bytes(webp),
    }
    for name, data in bombs.items():
        path.write_bytes(data)
        code, output, seconds = frugal("decode", path, tmp_path / "out", megabytes=64)
        assert (code, "[T2I-E3007]" in output) == (65, True), (name, output)
        assert seconds < 0.2, (name, seconds)
    assert len(bombs["20,000 x 20,000 PNG"]) < 1.3e6


def test_huge_metadata_costs_little(tmp_path):
    """A million empty chunks, and text that inflates to 200 MB: stepped over, the pixels are read all the same."""
    path = tmp_path / "a.png"
    samples = np.asarray(photo(16, 16))
    squeeze = zlib.compressobj(9)
    bomb = b"".join([squeeze.compress(bytes(5_000_000)) for _ in range(40)] + [squeeze.flush()])
    for before in (chunk(b"teXt", b"") * 1_000_000, chunk(b"zTXt", b"Comment\0\0" + bomb),
                   chunk(b"zTXt", b"Raw profile type exif\0\0" + bomb), chunk(b"iCCP", b"p\0\0" + bomb)):
        path.write_bytes(make_png(samples, 2, 8, before=before))
        code, output, seconds = frugal("decode", path, tmp_path / "out", megabytes=96)
        assert code == 0, output
        assert seconds < 1, seconds
        assert_equal(read(path, tmp_path)[0], samples)


# ---- PNG text, read by the others ----

def test_png_text_is_what_pillow_reads(tmp_path):
    source, path = tmp_path / "a.png", tmp_path / "b.png"
    photo().save(source)
    for text in ("a cat\nSteps: 20, Sampler: euler, Seed: 1", "größer, 語 🙂"):
        assert probe("write", path, source, "parameters", text).returncode == 0
        with Image.open(path) as image:
            assert image.info["parameters"] == text
            assert_equal(np.asarray(image.convert("RGB")), np.asarray(photo()))
        assert probe("text", path).stdout == f"parameters={text}\n"
    info = PngImagePlugin.PngInfo()
    info.add_text("a", "latin ü")
    info.add_text("b", "packed " * 50, zip=True)
    info.add_itxt("c", "語 " * 50, lang="ja", tkey="x", zip=True)
    photo().save(path, pnginfo=info)
    assert probe("text", path).stdout == "a=latin ü\nb=" + "packed " * 50 + "\nc=" + "語 " * 50 + "\n"
