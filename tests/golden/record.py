"""Records the reference trajectories of this folder with PyTorch in float64, or shows that they can be recorded again.

    python3 -m venv venv && venv/bin/pip install -r tests/golden/requirements.txt
    venv/bin/python tests/golden/record.py --check          # every case again, compared with what lies here
    venv/bin/python tests/golden/record.py NAME             # records one case (or several) in this folder
    venv/bin/python tests/golden/record.py --out FOLDER     # records every case elsewhere

Nothing here is shared with the Rust code: the networks are PyTorch modules, gradients are autograd's, and the step is
written from its formula. README.md beside this file says what the files hold. For a new case add a line to `CASES`.
"""
import argparse
import json
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

REPLAYS = range(24)        # replays that round differently; the worst of them is a record's float32_error
FRESH = range(100, 136)    # other replays, which must keep to the bound that follows from it
CALM = 2e-5                # no replay's update may be further off, or the next seed is tried: see `record`


# ---------------------------------------------------------------------------------------------------------------------
# Networks, with torchvision's parameter names


class Mlp(nn.Module):
    """Linear layers fc1, fc2, ... with ReLU between; the image is flattened."""

    def __init__(self, widths):
        super().__init__()
        self.depth = len(widths) - 1
        for i, (inputs, outputs) in enumerate(zip(widths, widths[1:])):
            setattr(self, f"fc{i + 1}", nn.Linear(inputs, outputs))

    def forward(self, x):
        x = self.fc1(x.flatten(1))
        for i in range(1, self.depth):
            x = getattr(self, f"fc{i + 1}")(F.relu(x))
        return x


class BasicBlock(nn.Module):
    """Two 3x3 convolutions. Where the shape changes, shortcut "A" takes every other pixel and pads channels with zeros
    on both sides, "B" is a 1x1 convolution (He et al. 2016, section 3.3)."""

    def __init__(self, inputs, outputs, stride, shortcut):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.added, self.downsample = stride, outputs - inputs, None
        if shortcut == "B" and (stride != 1 or self.added):
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.downsample is not None:
            x = self.downsample(x)
        elif self.stride != 1 or self.added:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.added // 2, self.added - self.added // 2))
        return F.relu(y + x)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, the last to four times the channels; the 3x3 has the stride, as in torchvision.
    The shortcut is "B" wherever the shape changes."""

    def __init__(self, inputs, width, stride, shortcut):
        super().__init__()
        assert shortcut == "B"
        outputs = 4 * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(y)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """Stem, stages of blocks, global average pool, fc. The stem is a 3x3 convolution for small images; for large ones
    that of torchvision's ResNet, a 7x7 convolution of stride 2 and a 3x3 max-pool of stride 2."""

    def __init__(self, blocks, widths, shortcut, large, channels, classes, block=BasicBlock):
        super().__init__()
        kernel, stride, padding = (7, 2, 3) if large else (3, 1, 1)
        self.conv1 = nn.Conv2d(channels, widths[0], kernel, stride, padding, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.maxpool = nn.MaxPool2d(3, 2, 1) if large else nn.Identity()
        inputs, self.stages = widths[0], len(blocks)
        for stage, (depth, width) in enumerate(zip(blocks, widths)):
            layer = []
            for index in range(depth):
                layer.append(block(inputs, width, 2 if stage and not index else 1, shortcut))
                inputs = width if block is BasicBlock else 4 * width
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layer))
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x):
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        for stage in range(self.stages):
            x = getattr(self, f"layer{stage + 1}")(x)
        return self.fc(x.mean((2, 3)))


RESNETS = {  # blocks in each stage, channels in each stage, shortcut, stem for large images, and block, if not basic
    "resnet8": ([1, 1, 1], [16, 32, 64], "A", False),
    "resnet20": ([3, 3, 3], [16, 32, 64], "A", False),
    "resnet18": ([2, 2, 2, 2], [64, 128, 256, 512], "B", False),
    "resnet10-imagenet": ([1, 1, 1, 1], [64, 128, 256, 512], "B", True),
    "resnet50": ([3, 4, 6, 3], [64, 128, 256, 512], "B", False, Bottleneck),
    "resnet50-imagenet": ([3, 4, 6, 3], [64, 128, 256, 512], "B", True, Bottleneck),
}


def build(name, channels, classes):
    """`mlp:8-16-5`, `resnet8`, or `resnet18:8`: the same with 8 channels in the first stage."""
    name, _, size = name.partition(":")
    if name == "mlp":
        return Mlp([int(width) for width in size.split("-")])
    blocks, widths, shortcut, large, *block = RESNETS[name]
    if size:
        widths = [width * int(size) // widths[0] for width in widths]
    return ResNet(blocks, widths, shortcut, large, channels, classes, *block)


# ---------------------------------------------------------------------------------------------------------------------
# Losses: a function of logits z and labels y that gives a loss a sample


def loss_function(case, dtype):
    name, n = case["loss"], torch.tensor(case["class_counts"], dtype=dtype)

    def entropy(z, y):
        return F.cross_entropy(z, y, reduction="none")

    if name == "ce":
        return entropy
    if name == "focal":                  # (1 - p)^gamma * CE
        return lambda z, y: (1 - F.softmax(z, 1).gather(1, y[:, None])[:, 0]) ** case["focal_gamma"] * entropy(z, y)
    if name == "ldam":                   # margins max_m * (n_min / n_c)^(1/4), max_m 0.5, times s = 30
        margin = n.pow(-0.25)
        margin = margin * (0.5 / margin.max())
        return lambda z, y: entropy(z - 30.0 * margin[y][:, None] * F.one_hot(y, len(n)), y)
    if name == "drw":                    # CE with class-balanced weights, b = 0.9999, that sum to the number of classes
        weight = (1 - 0.9999) / (1 - 0.9999 ** n)
        weight = weight / weight.sum() * len(n)
        return lambda z, y: weight[y] * entropy(z, y)
    if name == "balanced-softmax":
        return lambda z, y: entropy(z + torch.log(n), y)
    gamma, tau = {"la": (0.0, 0.75), "vs": (0.05, 0.75)}[name]
    scale = (1 / n) ** gamma
    scale = scale / scale.min()          # (n_max / n_c)^gamma
    shift = tau * torch.log(n / n.sum())
    return lambda z, y: entropy(z / scale + shift, y)


# ---------------------------------------------------------------------------------------------------------------------
# The step


def parts(case, epoch, y):
    """The parts of the objective: name, factor of each sample's loss, radius.

    The gradient of a step is the sum, over the parts, of the gradient of `mean(factor * loss)` at `w + eps`, with
    `eps = radius * g / (|g| + 1e-16)` and g the part's gradient at w. The mean is over the whole batch, for every part.
    """
    counts = torch.tensor(case["class_counts"], dtype=torch.float64)
    tail = (counts < case["eta"])[y].double()
    method, rho = case["method"], case["rho"]
    if method == "sgd":
        return [("all", torch.ones_like(tail), 0.0)]
    if method == "sam":                      # Foret et al. 2021
        return [("all", torch.ones_like(tail), rho)]
    if method == "imbsam":                   # Zhou et al. 2023
        return [("head", 1 - tail, 0.0), ("tail", tail * case.get("tail_weight", 1.0), rho)]
    if method == "ssesam":                   # Lyu et al. 2025
        first = epoch < case["gamma"] * case["epochs"]
        return [("head", 1 - tail, case["head_rho"] if first else 0.0), ("tail", tail, case["tail_rho"])]
    if method == "focalsam":                 # Li et al. 2025: a sample is in both parts
        a = (case["focal_sam_lambda"] * (1 - counts / counts.sum()) ** case["focal_sam_gamma"])[y]
        return [("plain", 1 - a, 0.0), ("focal", a, rho)]
    raise ValueError(method)


class Training:
    """A model with its optimizer: `step` is one step of SGD with the gradient that `parts` describes."""

    def __init__(self, case, model):
        self.case, self.model, self.params = case, model, list(model.parameters())
        self.loss = loss_function(case, self.params[0].dtype)
        self.velocity = [torch.zeros_like(p) for p in self.params]

    def gradient(self, x, y, factor, moves):
        """A part's loss and its gradient at the model's parameters; running statistics move if `moves`."""
        for module in self.model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.1 if moves else 0.0
        total = (self.loss(self.model(x), y) * factor).sum() / len(y)
        return total.item(), torch.autograd.grad(total, self.params)

    def perturbed_gradient(self, x, y, factor, direction, radius):
        """The part's gradient at `radius` along its direction; the parameters are as before afterwards."""
        norm = math.sqrt(sum((d * d).sum().item() for d in direction)) + 1e-16
        before = [p.detach().clone() for p in self.params]
        with torch.no_grad():
            for p, d in zip(self.params, direction):
                p.add_(d * (radius / norm))
        _, gradient = self.gradient(x, y, factor, False)
        with torch.no_grad():
            for p, w in zip(self.params, before):
                p.copy_(w)
        return gradient

    def step(self, epoch, x, y):
        case, record, total = self.case, {}, None
        for name, factor, radius in parts(case, epoch, y):
            record["loss_" + name] = 0.0
            if not factor.any():             # no sample of this part in the batch
                continue
            factor = factor.to(x.dtype)
            # Only the step's first pass, at the parameters themselves, moves running statistics.
            record["loss_" + name], g = self.gradient(x, y, factor, total is None)
            if radius > 0:
                g = self.perturbed_gradient(x, y, factor, g, radius)
            total = g if total is None else [a + b for a, b in zip(total, g)]
        record["lr"] = self.learning_rate(epoch)
        self.descend(total, record["lr"])
        return record

    def learning_rate(self, epoch):
        base, cosine = self.case["lr"], self.case["schedule"] == "cosine"
        return base * 0.5 * (1 + math.cos(math.pi * epoch / self.case["epochs"])) if cosine else base

    def rates(self, lr):
        """The learning rate of each parameter: with `lr_head` the last layer's is another one, in the same proportion."""
        head = lr * self.case.get("lr_head", self.case["lr"]) / self.case["lr"]
        return [lr] * (len(self.params) - 2) + [head] * 2

    def descend(self, gradient, lr):
        """`d = G + weight_decay w; v = momentum v + d; w -= lr v`, with Nesterov `w -= lr (d + momentum v)`."""
        momentum = self.case["momentum"]
        with torch.no_grad():
            for p, v, g, lr in zip(self.params, self.velocity, gradient, self.rates(lr)):
                d = g + self.case["weight_decay"] * p
                v.mul_(momentum).add_(d)
                p.sub_(lr * (d + momentum * v if self.case.get("nesterov") else v))


# ---------------------------------------------------------------------------------------------------------------------
# Trajectories


def keep_off_zero(model, margin):
    """Moves the biases of batch norms to `margin` or `-margin`, channel by channel, so that what a ReLU reads lies so many
    deviations from 0: in a network of millions of such numbers some would change their sign by rounding for every seed.
    What is added up along a stage has the same signs throughout."""
    signs = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            key = name.split(".")[0] if "bn3" in name or "downsample" in name else name
            drawn = signs.setdefault(key, 2.0 * torch.randint(0, 2, module.bias.shape) - 1)
            with torch.no_grad():
                module.bias.copy_(margin * drawn)


def draw(case, shape, batch, seed):
    """Initial state and batches: `init/NAME`, `batch<k>/images`, `batch<k>/labels`."""
    torch.manual_seed(seed)
    classes, steps = len(case["class_counts"]), case["steps"]
    images = [torch.randn(batch, *shape) for _ in range(steps)]
    labels = [torch.randint(0, classes, (batch,)) for _ in range(steps)]
    for k, y in enumerate(labels):
        y[:4] = torch.tensor([0, classes - 1, 1, classes - 2])     # head and tail are there ...
        if k == case.get("headless", -1):
            y[:] = 0                                               # ... but in one batch that has no tail
    model = build(case["model"], shape[0], classes)
    if "margin" in case:
        keep_off_zero(model, case["margin"])
    drawn = {f"init/{name}": v.detach().clone() for name, v in model.state_dict().items() if "num_batches" not in name}
    for k in range(steps):
        drawn[f"batch{k}/images"], drawn[f"batch{k}/labels"] = images[k], labels[k]
    return drawn


def play(case, drawn, dtype=torch.float64, permutation=0, noise=0.0, channels_last=False):
    """Trains from `drawn`. Returns `step<k>/NAME` and `final/NAME` in float64, and a record a step.

    The last three arguments change rounding only: the order of samples in a batch, relative noise after each layer, and
    how images lie in memory.
    """
    channels = drawn["batch0/images"].shape[1]
    last = channels_last and channels > 1
    layout = torch.channels_last if last else torch.contiguous_format
    model = build(case["model"], channels, len(case["class_counts"])).to(dtype)
    start = {name[5:]: v.to(dtype) for name, v in drawn.items() if name.startswith("init/")}
    model.load_state_dict(start, strict=False)
    model.train()
    if last:
        model.to(memory_format=layout)
    generator = torch.Generator().manual_seed(permutation)
    if noise:
        def disturb(module, inputs, output):
            return output * (1 + noise * torch.randn(output.shape, generator=generator, dtype=output.dtype))
        for module in model.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear, nn.BatchNorm2d)):
                module.register_forward_hook(disturb)
    training, found, records = Training(case, model), {}, []
    for k in range(case["steps"]):
        x, y = drawn[f"batch{k}/images"].to(dtype), drawn[f"batch{k}/labels"]
        if permutation:
            order = torch.randperm(len(y), generator=generator)
            x, y = x[order], y[order]
        records.append(training.step(k // case["steps_per_epoch"], x.contiguous(memory_format=layout), y))
        found.update({f"step{k}/{name}": v.detach().double().clone() for name, v in model.named_parameters()})
    found.update({f"final/{name}": v.double().clone() for name, v in model.state_dict().items() if "running" in name})
    return found, records


def update_error(drawn, exact, other, k):
    """`||a - b|| / ||b - init||` over all parameters after step k."""
    names = [name for name in exact if name.startswith(f"step{k}/")]
    error = sum(((other[name] - exact[name]) ** 2).sum().item() for name in names)
    update = sum(((exact[name] - drawn["init/" + name.split("/", 1)[1]].double()) ** 2).sum().item() for name in names)
    return math.sqrt(error / update)


def worst_errors(case, drawn, exact, replays):
    """The largest error of each step's update over replays: three of four in float32 with permuted batches, every other
    one with channels last; the fourth in float64 with relative noise of 3e-7 after each layer, as float32 rounds."""
    worst = [0.0] * case["steps"]
    for r in replays:
        noisy = r % 4 == 3
        dtype = torch.float64 if noisy else torch.float32
        other, _ = play(case, drawn, dtype, r, 3e-7 if noisy else 0.0, r % 2 == 1)
        worst = [max(error, update_error(drawn, exact, other, k)) for k, error in enumerate(worst)]
    return worst


def bound(error):
    """What an implementation in float32 may be off by, as `sse-sam verify` has it."""
    return max(10 * error, 1e-5)


# ---------------------------------------------------------------------------------------------------------------------
# The cases of this folder


def long_tailed(classes, most, imbalance):
    return [int(most / imbalance ** (c / (classes - 1))) for c in range(classes)]


BASE = dict(lr=0.05, momentum=0.9, weight_decay=5e-4, schedule="cosine", steps_per_epoch=1, rho=0.05,
            head_rho=0.05, tail_rho=0.1, gamma=0.5)
MLP = dict(BASE, model="mlp:8-16-5", class_counts=long_tailed(5, 200, 50), eta=40, epochs=4, steps_per_epoch=2, steps=8,
           lr=0.1, headless=3)
NET = dict(BASE, class_counts=long_tailed(10, 5000, 100), eta=400, epochs=2, steps=2)
FOCAL_SAM = dict(method="focalsam", focal_sam_lambda=0.8, focal_sam_gamma=2.0)

CASES = {  # name: what is run, shape of an image, batch
    **{f"mlp-{method}-ce": (dict(MLP, method=method, loss="ce"), (1, 2, 4), 12)
       for method in ("sgd", "sam", "imbsam", "ssesam")},
    **{f"mlp-ssesam-{loss}": (dict(MLP, method="ssesam", loss=loss, focal_gamma=1.0), (1, 2, 4), 12)
       for loss in ("ldam", "la", "vs", "balanced-softmax", "focal", "drw")},
    "mlp-sgd-nesterov": (dict(MLP, method="sgd", loss="ce", nesterov=True), (1, 2, 4), 12),
    "mlp-ssesam-lr-head": (dict(MLP, method="ssesam", loss="ce", lr_head=0.5, weight_decay=0.02), (1, 2, 4), 12),
    "mlp-sgd-nesterov-lr-head":
        (dict(MLP, method="sgd", loss="ce", lr=0.2, lr_head=0.05, nesterov=True), (1, 2, 4), 12),
    "resnet8-8-ssesam-lr-head":
        (dict(NET, model="resnet8:8", method="ssesam", loss="ce", lr=0.01, lr_head=0.1), (3, 8, 8), 12),
    "mlp-imbsam-tail-weight-2": (dict(MLP, method="imbsam", loss="ce", tail_weight=2.0), (1, 2, 4), 12),
    "resnet8-ssesam-ce": (dict(NET, model="resnet8", method="ssesam", loss="ce"), (3, 8, 8), 12),
    "mlp-focalsam-ce": (dict(MLP, **FOCAL_SAM, loss="ce"), (1, 2, 4), 12),
    "mlp-focalsam-la": (dict(MLP, **FOCAL_SAM, loss="la"), (1, 2, 4), 12),
    "resnet8-8-focalsam-ce": (dict(NET, **FOCAL_SAM, model="resnet8:8", loss="ce"), (3, 8, 8), 12),
    "resnet10-imagenet-4-ssesam-ce":
        (dict(NET, model="resnet10-imagenet:4", method="ssesam", loss="ce"), (3, 18, 22), 16),
    "resnet18-8-ssesam-ce": (dict(NET, model="resnet18:8", method="ssesam", loss="ce"), (3, 8, 8), 16),
    "resnet50-8-ssesam-ce":
        (dict(NET, model="resnet50:8", method="ssesam", loss="ce", lr=0.002, margin=4.0), (3, 64, 64), 4),
}


# ---------------------------------------------------------------------------------------------------------------------
# Recording and checking


def record(folder, name, case, shape, batch):
    """Writes a case with the first seed whose trajectory no rounding moves far.

    Where a number before a ReLU is so near 0 that rounding decides its sign (or two numbers of a max-pool so near each
    other), a whole piece of the gradient comes, goes or moves, and two right implementations differ by more than any
    bound. Such seeds show in the replays and are passed over.
    """
    for seed in range(400):
        drawn = draw(case, shape, batch, seed)
        exact, records = play(case, drawn)
        if max(worst_errors(case, drawn, exact, [0, 3])) > CALM:
            continue
        errors = worst_errors(case, drawn, exact, REPLAYS)
        fresh = worst_errors(case, drawn, exact, FRESH)
        if max(errors + fresh) <= CALM:
            break
    else:
        raise SystemExit(f"{name}: no seed below 400 is calm")
    for entry, error in zip(records, errors):
        entry["float32_error"] = float(f"{error:.2e}")
    tensors = drawn | {key: value.float() for key, value in exact.items()}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.safetensors"
    save_file({key: value.contiguous() for key, value in tensors.items()}, path)
    path.chmod(0o644)
    path.with_suffix(".json").write_text(json.dumps(dict(case, seed=seed, records=records), indent=1) + "\n")
    reached = max(f / bound(e) for f, e in zip(fresh, errors))
    print(f"{name}: seed {seed}, {path.stat().st_size / 1024:.0f} KiB, float32 errors "
          f"{' '.join(f'{e:.1e}' for e in errors)}; other replays reach {reached:.2f} of the bound", flush=True)


def check(folder, name, case, shape, batch):
    """Compares a case with what is recorded now; returns what differs.

    The trajectory starts from the numbers in the file. It must give what stands there: losses and learning rates to
    1e-12, and tensors, which are stored rounded to float32, to 1e-12 of their largest number before that rounding.
    """
    said = json.loads((folder / f"{name}.json").read_text())
    stored = load_file(folder / f"{name}.safetensors")
    records = said.pop("records")
    seed = said.pop("seed")
    differs = [] if said == json.loads(json.dumps(case)) else ["what is run"]
    drawn = draw(case, shape, batch, seed)
    for key, value in drawn.items():         # machines differ in the last bit of a logarithm, so of a normal number
        if key not in stored or not torch.allclose(stored[key].double(), value.double(), rtol=1e-5, atol=1e-6):
            differs.append(f"{key}: not what seed {seed} draws")
    drawn = {key: value for key, value in stored.items() if key.startswith(("init/", "batch"))}
    exact, again = play(case, drawn)
    if set(stored) != set(drawn) | set(exact):
        return differs + ["which tensors there are"]
    for key, value in exact.items():
        allowed = 2.0 ** -24 * value.abs() + 1e-12 * value.abs().max()
        if not ((stored[key].double() - value).abs() <= allowed).all():
            differs.append(key)
    for k, (old, new) in enumerate(zip(records, again, strict=True)):
        differs += [f"step {k}: {key}" for key in new if not math.isclose(old[key], new[key], rel_tol=1e-12)]
    errors = worst_errors(case, drawn, exact, FRESH)
    reached = max(e / bound(old["float32_error"]) for e, old in zip(errors, records))
    if reached > 1:
        differs.append(f"float32 replays reach {reached:.2f} of the bound")
    print(f"{name}: {'differs' if differs else 'the same'}; replays reach {reached:.2f} of the bound", flush=True)
    return differs


def main():
    parser = argparse.ArgumentParser(description="Records reference trajectories with PyTorch in float64.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="cases, all when none is named")
    parser.add_argument("--check", action="store_true", help="compare with the files instead of writing them")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, metavar="FOLDER", help="default: here")
    options = parser.parse_args()
    unknown = set(options.names) - set(CASES)
    if unknown:
        parser.error(f"no case is named {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    torch.set_num_threads(1)                 # one order of summation
    differs = []
    for name in options.names or CASES:
        if options.check:
            differs += [f"{name}: {what}" for what in check(options.out, name, *CASES[name])]
        else:
            record(options.out, name, *CASES[name])
    if differs:
        raise SystemExit("\n".join(differs))


if __name__ == "__main__":
    main()
