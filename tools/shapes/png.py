"""Reads and writes 8-bit PNG pictures with the standard library alone, so that the quickstart needs no image package.

A picture is (width, height, pixels): `pixels` is a bytes object of 3 * width * height values, rows from the top, red
green blue. Reading accepts grey, RGB and RGBA without interlace (alpha is dropped); anything else is a ValueError that
names the file.
"""

import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS_BY_COLOUR_TYPE = {0: 1, 2: 3, 4: 2, 6: 4}


def write_png(path, width, height, pixels, compression=6):
    """Writes RGB pixels; every row uses filter 0, which zlib compresses well for flat colours."""
    if len(pixels) != 3 * width * height:
        raise ValueError(f"{path}: {len(pixels)} bytes are not {width} x {height} RGB pixels")
    stride = 3 * width
    rows = b"".join(b"\0" + pixels[y * stride : (y + 1) * stride] for y in range(height))
    with open(path, "wb") as file:
        file.write(SIGNATURE)
        for kind, data in (
            (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
            (b"IDAT", zlib.compress(rows, compression)),
            (b"IEND", b""),
        ):
            file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))


def read_png(path):
    """Returns (width, height, RGB pixels)."""
    with open(path, "rb") as file:
        data = file.read()
    if not data.startswith(SIGNATURE):
        raise ValueError(f"{path}: not a PNG file")
    header, packed, at = None, [], len(SIGNATURE)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        (checksum,) = struct.unpack_from(">I", data, at + 8 + length)
        if zlib.crc32(kind + body) != checksum:
            raise ValueError(f"{path}: chunk {kind!r} is damaged")
        if kind == b"IHDR":
            header = struct.unpack(">IIBBBBB", body)
        elif kind == b"IDAT":
            packed.append(body)
        elif kind == b"IEND":
            break
        at += 12 + length
    if header is None:
        raise ValueError(f"{path}: no header")
    width, height, depth, colour_type, _, _, interlace = header
    if depth != 8 or interlace or colour_type not in CHANNELS_BY_COLOUR_TYPE:
        raise ValueError(f"{path}: {depth} bits, colour type {colour_type}, interlace {interlace} are not supported")
    channels = CHANNELS_BY_COLOUR_TYPE[colour_type]
    rows = unfilter(zlib.decompress(b"".join(packed)), width * channels, height, channels)
    return width, height, to_rgb(rows, channels)


def unfilter(data, stride, height, channels):
    """Undoes the five row filters of the PNG specification, section 9."""
    if len(data) < (stride + 1) * height:
        raise ValueError("the picture's rows are cut short")
    result, above = bytearray(), bytes(stride)
    for y in range(height):
        start = y * (stride + 1)
        method, row = data[start], bytearray(data[start + 1 : start + 1 + stride])
        if method == 1:
            for x in range(channels, stride):
                row[x] = (row[x] + row[x - channels]) & 255
        elif method == 2:
            for x in range(stride):
                row[x] = (row[x] + above[x]) & 255
        elif method == 3:
            for x in range(stride):
                left = row[x - channels] if x >= channels else 0
                row[x] = (row[x] + (left + above[x]) // 2) & 255
        elif method == 4:
            for x in range(stride):
                left, corner = (row[x - channels], above[x - channels]) if x >= channels else (0, 0)
                row[x] = (row[x] + paeth(left, above[x], corner)) & 255
        elif method != 0:
            raise ValueError(f"unknown row filter {method}")
        result += row
        above = row
    return bytes(result)


def paeth(left, up, corner):
    guess = left + up - corner
    by_left, by_up, by_corner = abs(guess - left), abs(guess - up), abs(guess - corner)
    if by_left <= by_up and by_left <= by_corner:
        return left
    return up if by_up <= by_corner else corner


def to_rgb(rows, channels):
    if channels == 3:
        return rows
    result = bytearray(3 * (len(rows) // channels))
    for c in range(3):
        result[c::3] = rows[(c if channels == 4 else 0) :: channels]
    return bytes(result)
