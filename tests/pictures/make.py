#!/usr/bin/env python3
"""Makes the files of this folder with Pillow 13.0.0 and NumPy: `python3 make.py [DIFFICULT]`.

One picture, computed here, in every form that is read, and what Pillow makes of it: answers.csv has a line for each file,
`file,bound,width,height,crc32`, the CRC-32 being that of the bytes of Image.open(file).convert("RGB"). Where the bound is
not 0, those bytes are in answers/FILE.png, and a decoder may differ from them by the bound.

DIFFICULT is an unpacked difficult.tar.gz, whose table knows only SHA-256 sums: difficult/SUM.png gets Pillow's pixels of its
JPEG and WebP files, with the sum's first eight digits. They are made from a photo of TrashNet, see difficult/LICENSE.
"""

import csv
import hashlib
import io
import pathlib
import struct
import sys
import zlib

import numpy as np
from PIL import Image, TiffImagePlugin

HERE = pathlib.Path(__file__).parent
FILES, ANSWERS = HERE / "files", HERE / "answers"


def picture(width=41, height=30):
    """Smooth colours, a disc and an edge."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    red = 127 + 100 * np.sin(x / 7) * np.cos(y / 9)
    green = 255 * x / (width - 1)
    blue = np.where((x - 12) ** 2 + (y - 15) ** 2 < 64, 220, 40 + 5 * y)
    return Image.fromarray(np.stack([red, green, blue], -1).round().astype(np.uint8))


def exif(orientation):
    found = Image.Exif()
    found[0x0112] = orientation
    return found


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def encoded(image, **options):
    file = io.BytesIO()
    image.save(file, **options)
    return file.getvalue()


def main():
    FILES.mkdir(exist_ok=True)
    ANSWERS.mkdir(exist_ok=True)
    rgb = picture()
    grey, rgba, inks = rgb.convert("L"), rgb.convert("RGBA"), rgb.convert("CMYK")
    rgba.putalpha(Image.fromarray(np.linspace(0, 255, 41 * 30).reshape(30, 41).astype(np.uint8)))
    palette = rgb.quantize(13)
    wide = Image.fromarray((np.arange(41 * 30).reshape(30, 41) * 53).astype(np.uint16))
    jpeg = dict(format="JPEG", quality=90)
    files = {
        "420.jpg": encoded(rgb, **jpeg, subsampling="4:2:0"),
        "422.jpg": encoded(rgb, **jpeg, subsampling="4:2:2"),
        "444.jpg": encoded(rgb, **jpeg, subsampling="4:4:4"),
        "progressive.jpg": encoded(rgb, **jpeg, progressive=True),
        "restart.jpg": encoded(rgb, **jpeg, restart_marker_blocks=2),
        "grey.jpg": encoded(grey, **jpeg),
        "cmyk.jpg": encoded(inks, **jpeg),
        "rgb.jpg": encoded(rgb, **jpeg, keep_rgb=True),
        "turned.jpg": encoded(rgb, **jpeg, exif=exif(6)),
        "two.mpo": encoded(rgb, format="MPO", save_all=True, append_images=[grey.convert("RGB")], quality=90),
        "rgb.png": encoded(rgb, format="PNG"),
        "grey.png": encoded(grey, format="PNG"),
        "1.png": encoded(rgb.convert("1"), format="PNG"),
        "16.png": encoded(wide, format="PNG"),
        "rgba.png": encoded(rgba, format="PNG"),
        "grey-alpha.png": encoded(rgba.convert("LA"), format="PNG"),
        "palette.png": encoded(palette, format="PNG"),
        "palette-transparent.png": encoded(palette, format="PNG", transparency=3),
        "animated.png": encoded(rgb, format="PNG", save_all=True, append_images=[grey.convert("RGB")]),
        "turned.png": encoded(rgb, format="PNG", exif=exif(3)),
        "lossy.webp": encoded(rgb, format="WEBP", quality=90),
        "lossless.webp": encoded(rgb, format="WEBP", lossless=True),
        "alpha.webp": encoded(rgba, format="WEBP", lossless=True, exact=True),
        "animated.webp": encoded(rgb, format="WEBP", lossless=True, save_all=True, append_images=[grey.convert("RGB")]),
        "palette.gif": encoded(palette, format="GIF"),
        "interlaced.gif": encoded(palette, format="GIF", interlace=True, transparency=2),
        "animated.gif": encoded(palette, format="GIF", save_all=True, append_images=[grey.quantize(13)]),
        "24.bmp": encoded(rgb, format="BMP"),
        "8.bmp": encoded(palette, format="BMP"),
        "1.bmp": encoded(rgb.convert("1"), format="BMP"),
        "raw.tif": encoded(rgb, format="TIFF"),
        "lzw.tif": encoded(rgb, format="TIFF", compression="tiff_lzw"),
        "deflate.tif": encoded(rgb, format="TIFF", compression="tiff_deflate"),
        "grey.tif": encoded(grey, format="TIFF"),
        "16.tif": encoded(wide, format="TIFF"),
        "turned.tif": encoded(rgb, format="TIFF", tiffinfo=TiffImagePlugin.ImageFileDirectory_v2()),
        "rgb.ppm": encoded(rgb, format="PPM"),
        "grey.pgm": encoded(grey, format="PPM"),
        "1.pbm": encoded(rgb.convert("1"), format="PPM"),
        "text.ppm": b"P3\n# words\n2 2 15\n0 1 2  3 4 5\n6 7 8  15 14 13\n",
        "15.pgm": b"P5 3 2 15\n" + bytes([0, 1, 7, 8, 14, 15]),
        "1000.ppm": b"P6 2 1 1000\n" + struct.pack(">6H", 0, 1, 499, 500, 998, 1000),
    }
    turned = TiffImagePlugin.ImageFileDirectory_v2()
    turned[0x0112] = 8
    files["turned.tif"] = encoded(rgb, format="TIFF", tiffinfo=turned)
    # A picture that leaves a part of its screen, and one that goes beyond it.
    gif = encoded(palette, format="GIF")
    place = gif.index(b"\x2c", 13 + 3 * 16)
    files["place.gif"] = gif[:6] + struct.pack("<HH", 60, 40) + gif[10 : place + 1] + struct.pack("<HH", 5, 3) + gif[place + 5 :]
    files["beyond.gif"] = gif[:6] + struct.pack("<HH", 20, 20) + gif[10:]
    lines = ["file,bound,width,height,crc32"]
    for name, content in sorted(files.items()):
        (FILES / name).write_bytes(content)
        with Image.open(FILES / name) as found:
            answer = found.convert("RGB")
        bound = 4 if name.endswith((".jpg", ".mpo")) or name == "lossy.webp" else 0
        if bound:
            answer.save(ANSWERS / f"{name}.png")
        lines.append(f"{name},{bound},{answer.width},{answer.height},{zlib.crc32(answer.tobytes()):08x}")
    (HERE / "answers.csv").write_text("\n".join(lines) + "\n")


def difficult(folder):
    (HERE / "difficult").mkdir(exist_ok=True)
    for row in csv.DictReader(open(folder / "answers.csv")):
        if row["pil"] == "ok" and row["format"] in ("JPEG", "MPO", "WEBP") or row["file"].endswith("tiff_jpeg.tif"):
            found = Image.open(folder / row["file"]).convert("RGB")
            sha256 = hashlib.sha256(found.tobytes()).hexdigest()
            assert sha256 == row["sha256_of_rgb"], row["file"]
            found.save(HERE / "difficult" / f"{sha256[:8]}.png", optimize=True)


main()
for folder in sys.argv[1:]:
    difficult(pathlib.Path(folder))
