"""Records what torchvision's networks say, for tests/torchvision.rs: names and shapes of their tensors, and logits.

    python3 -m venv venv && venv/bin/pip install torch==2.15.0 torchvision==0.29.2 numpy
    venv/bin/python tests/torchvision/record.py --check     # records all again and compares with what lies here
    venv/bin/python tests/torchvision/record.py             # writes NAME.json beside this file

No weights are stored: both sides make them by `value`, from the number of a tensor and that of a value in it. Logits are
computed in float64.
"""
import argparse
import json
import math
from pathlib import Path

import numpy as np
import torch
import torchvision

NETWORKS = ("resnet18", "resnet50", "resnet101")
IMAGES = (2, 3, 75, 93)                      # sides that no stage halves evenly
CLASSES = 1000


def unit(tensor, count):
    """Numbers in 0..1 of tensor number `tensor`, multiples of 2^-24."""
    x = np.arange(count, dtype=np.uint32) * np.uint32(0x9E3779B1) + np.uint32(tensor * 0x85EBCA77 % 2**32)
    for shift, factor in ((15, 0x2C1B3C6D), (12, 0x297A2D39)):
        x = (x ^ (x >> np.uint32(shift))) * np.uint32(factor)
    x ^= x >> np.uint32(15)
    return (x >> np.uint32(8)).astype(np.float64) / 2**24


def limits(name, shape):
    """Between which numbers a tensor's values lie."""
    if name.endswith("running_var"):
        return 0.5, 1.5
    if len(shape) > 1:
        bound = math.sqrt(6.0 / math.prod(shape[1:]))
        return -bound, bound
    return (0.5, 1.0) if name.endswith("weight") else (-0.1, 0.1)


def values(tensor, shape, low, high):
    """A tensor of float32, rounded once."""
    numbers = low + (high - low) * unit(tensor, math.prod(shape))
    return torch.from_numpy(numbers.astype(np.float32)).reshape(shape)


def record(name):
    model = getattr(torchvision.models, name)(num_classes=CLASSES)
    shapes = {key: list(value.shape) for key, value in model.state_dict().items() if "num_batches" not in key}
    state = {key: values(number, shape, *limits(key, shape)) for number, (key, shape) in enumerate(shapes.items())}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and all("num_batches" in key for key in missing)
    images = values(len(shapes), IMAGES, -2.0, 2.0).double()
    with torch.no_grad():
        logits = model.double().eval()(images)
    return dict(model=name, torchvision=torchvision.__version__, images=list(IMAGES), tensors=list(shapes.items()),
                logits=[float(f"{value:.9g}") for value in logits.flatten().tolist()])


def main():
    parser = argparse.ArgumentParser(description="Records the logits of torchvision's networks.")
    parser.add_argument("--check", action="store_true", help="compare with the files instead of writing them")
    options = parser.parse_args()
    for name in NETWORKS:
        path, found = Path(__file__).with_name(f"{name}.json"), record(name)
        if not options.check:
            path.write_text(json.dumps(found, separators=(",", ":")) + "\n")
            continue
        stored = json.loads(path.read_text())
        largest = max(map(abs, stored["logits"]))
        same = np.allclose(stored["logits"], found["logits"], rtol=0, atol=1e-8 * largest)
        if not same or stored["tensors"] != json.loads(json.dumps(found["tensors"])):
            raise SystemExit(f"{name}: differs")
        print(f"{name}: the same")


if __name__ == "__main__":
    main()
