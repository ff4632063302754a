#!/usr/bin/env python3
"""Prints transforms.csv: what Pillow 13.0.0 and torchvision 0.29.2 make of pictures whose bytes are a formula.

Byte i of a picture is (i * i * 2654435761 + i) >> 13, its lower 8 bits. A line is a transform and the CRC-32 of its
bytes: `kind,channels,width,height,numbers of the transform..,crc32`.
"""

import random
import zlib

import numpy as np
import torchvision.transforms.functional as F
from PIL import Image
from torchvision.transforms import InterpolationMode

FILTERS = {"bilinear": InterpolationMode.BILINEAR, "bicubic": InterpolationMode.BICUBIC}


def picture(channels, width, height):
    i = np.arange(channels * width * height, dtype=np.uint64)
    bytes_ = ((i * i * np.uint64(2654435761) + i) >> np.uint64(13)).astype(np.uint8)
    shape = (height, width) if channels == 1 else (height, width, channels)
    return Image.fromarray(bytes_.reshape(shape))


def line(kind, image, numbers, answer):
    crc = zlib.crc32(answer.tobytes())
    channels = len(image.getbands())
    print(kind, channels, image.width, image.height, *numbers, f"{crc:08x}", sep=",")


def main():
    print("kind,channels,width,height,numbers..,crc32")
    draw = random.Random(1)
    for case in range(60):
        channels, width, height = draw.choice([1, 3, 3]), draw.randint(1, 90), draw.randint(1, 90)
        image = picture(channels, width, height)
        w, h = draw.randint(1, width), draw.randint(1, height)
        left, top = draw.randint(0, width - w), draw.randint(0, height - h)
        to = [draw.randint(1, 60), draw.randint(1, 60)]
        if case % 6 == 0:
            to[0] = w
        if case % 10 == 0:
            to[1] = h
        name = draw.choice(list(FILTERS))
        answer = F.resized_crop(image, top, left, h, w, [to[1], to[0]], FILTERS[name])
        line("crop-" + name, image, (left, top, w, h, *to), answer)
    for case in range(60):
        channels, width, height = draw.choice([1, 3]), draw.randint(1, 90), draw.randint(1, 90)
        image = picture(channels, width, height)
        size, side = draw.randint(1, 60), draw.randint(1, 60)
        name = draw.choice(list(FILTERS))
        answer = F.center_crop(F.resize(image, size, FILTERS[name]), side)
        line("evaluate-" + name, image, (size, side), answer)
    for channels in (1, 3):
        image = picture(channels, 70, 50)
        line("flip", image, (), F.hflip(image))
        for factor in (0.0, 0.2, 0.63, 0.999, 1.0, 1.37, 1.4, 1.8, 3.0):
            line("brightness", image, (factor,), F.adjust_brightness(image, factor))
            line("contrast", image, (factor,), F.adjust_contrast(image, factor))
            line("saturation", image, (factor,), F.adjust_saturation(image, factor))
        for factor in (-0.5, -0.3, -0.01, 0.0, 0.003, 0.1, 0.5):
            line("hue", image, (factor,), F.adjust_hue(image, factor))
    every = np.arange(1 << 24, dtype=np.uint32)
    every = np.stack([every >> 16, every >> 8, every], -1).astype(np.uint8).reshape(4096, 4096, 3)
    crc = zlib.crc32(F.adjust_hue(Image.fromarray(every), 0.1).tobytes())
    print(f"every-hue,3,4096,4096,0.1,{crc:08x}")


main()
