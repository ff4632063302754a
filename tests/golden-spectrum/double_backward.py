"""Times the product of a ResNet's Hessian with a vector in PyTorch: twice backward, batch norm in evaluation mode.

    python double_backward.py [BLOCKS A STAGE, 3 for ResNet-20] [BATCH]

What `sse-sam bench --model resnet20 --batch 128 --method sgd --hessian --device DEVICE` times in this program. Takes the faster of PyTorch's two
memory formats; prints a line of JSON. Needs torch.
"""
import json, sys, time
import torch
import torch.nn as nn
import torch.nn.functional as F


class Block(nn.Module):
    """Two 3x3 convolutions; the shortcut subsamples and pads channels with zeros."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.stride, self.padding = stride, outputs - inputs

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.padding:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.padding // 2, self.padding - self.padding // 2))
        return F.relu(y + x)


def resnet(blocks, classes=100):
    layers = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    for stage, (inputs, outputs) in enumerate([(16, 16), (16, 32), (32, 64)]):
        for index in range(blocks):
            first = index == 0
            layers.append(Block(inputs if first else outputs, outputs, 2 if stage and first else 1))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes)).eval()


def times(network, x, labels, rounds=5):
    """Least seconds of a gradient, and of a product with its evaluation, as this program times both."""
    parameters = list(network.parameters())
    v = [torch.randn_like(p).sign() for p in parameters]
    least = [float("inf"), float("inf")]
    for _ in range(rounds):
        start = time.perf_counter()
        torch.autograd.grad(F.cross_entropy(network(x), labels), parameters)
        middle = time.perf_counter()
        gradient = torch.autograd.grad(F.cross_entropy(network(x), labels), parameters, create_graph=True)
        torch.autograd.grad(sum((g * u).sum() for g, u in zip(gradient, v)), parameters)
        end = time.perf_counter()
        least = [min(least[0], middle - start), min(least[1], end - middle)]
    return least


def main():
    blocks, batch = (int(word) for word in (sys.argv[1:] + ["3", "128"][len(sys.argv) - 1 :])[:2])
    torch.manual_seed(1)
    network, labels = resnet(blocks), torch.arange(batch) % 100
    x = torch.randn(batch, 3, 32, 32)
    plain = times(network, x, labels)
    last = times(network.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last), labels)
    gradient, product = min(plain[0], last[0]), min(plain[1], last[1])
    print(json.dumps({
        "peer": f"torch {torch.__version__}", "threads": torch.get_num_threads(), "batch": batch, "layers": 6 * blocks + 2,
        "gradient_ms": round(1e3 * gradient, 1), "product_ms": round(1e3 * product, 1),
    }))


main()
