#!/usr/bin/env python3
"""Prints a random crop as the program draws it: ChaCha8 and the formulas of `RandomCrop::draw`, written anew."""

import itertools
import math
import struct

MASK = 0xFFFFFFFF


def block(seed, purpose, stream, counter):
    key = struct.unpack("<8I", struct.pack("<4Q", seed, purpose, 0, 0))
    state = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574, *key, *struct.unpack("<4I", struct.pack("<2Q", counter, stream))]
    x = state[:]

    def turn(a, b, c, d):
        for target, other, mixed, by in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            x[target] = (x[target] + x[other]) & MASK
            x[mixed] ^= x[target]
            x[mixed] = (x[mixed] << by | x[mixed] >> 32 - by) & MASK

    for _ in range(4):
        for column in range(4):
            turn(column, 4 + column, 8 + column, 12 + column)
        for column in range(4):
            turn(column, 4 + (column + 1) % 4, 8 + (column + 2) % 4, 12 + (column + 3) % 4)
    return [(a + b) & MASK for a, b in zip(x, state)]


def draw(seed, epoch, index, width, height, ratio=(3 / 4, 4 / 3), scale=(0.08, 1.0)):
    words = [word for counter in range(4) for word in block(seed, 8, epoch, 4 * index + counter)]
    words = [low | high << 32 for low, high in zip(words[::2], words[1::2])]

    def uniform(index, low, high):
        return low + (high - low) * ((words[index] >> 11) * 2.0**-53)

    for attempt in range(10):
        area = float(width * height) * uniform(2 * attempt, *scale)
        r = math.exp(uniform(2 * attempt + 1, math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * r)), round(math.sqrt(area / r))
        if 0 < w <= width and 0 < h <= height:
            break
    top, left = words[20] * (height - h + 1) >> 64, words[21] * (width - w + 1) >> 64
    order = list(itertools.permutations(range(4)))[words[23] * 24 >> 64]
    factors = [("Brightness", uniform(24, 0.6, 1.4)), ("Contrast", uniform(25, 0.6, 1.4))]
    factors += [("Saturation", uniform(26, 0.6, 1.4)), ("Hue", uniform(27, -0.1, 0.1))]
    steps = ", ".join(f"Some({factors[step][0]}({factors[step][1]!r}))" for step in order)
    area = f"Area {{ left: {left}, top: {top}, width: {w}, height: {h} }}"
    return f"Drawn {{ area: {area}, flip: {str(words[22] >> 63 == 1).lower()}, jitter: [{steps}] }}"


print(draw(3, 1, 0xFFFFFFFF, 512, 384))
