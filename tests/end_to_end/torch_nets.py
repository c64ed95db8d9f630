"""The nets of the specs as a PyTorch user writes them, with the addresses of their weights in the `.net` text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class SpecNet(nn.Module):
    """`ADDRESSES` gives the address of each parameter; `decay` is the factor of L2 that the spec's `let` says."""

    ADDRESSES: ClassVar[Mapping[str, str]]
    decay = 0.0

    def l2(self) -> torch.Tensor:
        """As `l2(net)`: of matrices and kernels, not of biases."""
        return self.decay * sum(p.square().sum() for p in self.parameters() if p.ndim > 1)


class Logistic(SpecNet):
    ADDRESSES: ClassVar = {"linear.weight": "logistic.w", "linear.bias": "logistic.b"}

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(30, 1)

    def loss(self, features: torch.Tensor, benign: torch.Tensor) -> torch.Tensor:
        logit = self.linear(features).squeeze(-1)
        penalty = self.linear.weight.square().sum()
        return F.binary_cross_entropy_with_logits(logit, benign) + 1e-3 * penalty


class Linear(SpecNet):
    ADDRESSES: ClassVar = {"linear.weight": "linear.linear.weight", "linear.bias": "linear.linear.bias"}

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(10, 1)

    def loss(self, features: torch.Tensor, progress: torch.Tensor) -> torch.Tensor:
        return F.mse_loss(self.linear(features).squeeze(-1), progress)


class MLP(SpecNet):
    ADDRESSES: ClassVar = {
        "hidden.0.weight": "mlp.hidden[0].linear.weight",
        "hidden.0.bias": "mlp.hidden[0].linear.bias",
        "hidden.1.weight": "mlp.hidden[1].linear.weight",
        "hidden.1.bias": "mlp.hidden[1].linear.bias",
        "head.weight": "mlp.head.weight",
        "head.bias": "mlp.head.bias",
    }

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.ModuleList([nn.Linear(784, 256), nn.Linear(256, 256)])
        self.head = nn.Linear(256, 10)
        self.masks: list[torch.Tensor] | None = None  # what dropout multiplies by; None: no dropout

    def loss(self, image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        x = image.flatten(1)
        for i, layer in enumerate(self.hidden):
            x = F.relu(layer(x))
            if self.masks is not None:
                x = x * self.masks[i]
        return F.cross_entropy(self.head(x), label) + self.l2()


class LeNet(SpecNet):
    ADDRESSES: ClassVar = {
        "convs.0.weight": "lenet.conv.weight",
        "convs.0.bias": "lenet.conv.bias",
        "convs.1.weight": "lenet.conv2.weight",
        "convs.1.bias": "lenet.conv2.bias",
        "convs.2.weight": "lenet.conv3.weight",
        "convs.2.bias": "lenet.conv3.bias",
        "fc1.weight": "lenet.linear.weight",
        "fc1.bias": "lenet.linear.bias",
        "fc2.weight": "lenet.linear2.weight",
        "fc2.bias": "lenet.linear2.bias",
    }

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5), nn.Conv2d(16, 120, 5)])
        self.fc1 = nn.Linear(120, 84)
        self.fc2 = nn.Linear(84, 10)

    def loss(self, image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        x = F.avg_pool2d(torch.tanh(self.convs[0](image)), 2)
        x = F.avg_pool2d(torch.tanh(self.convs[1](x)), 2)
        x = torch.tanh(self.convs[2](x)).flatten(1)
        return F.cross_entropy(self.fc2(torch.tanh(self.fc1(x))), label) + self.l2()


NETS: Mapping[str, type[SpecNet]] = {"logistic": Logistic, "linear": Linear, "mlp": MLP, "lenet": LeNet}


def of(name: str, weights: Mapping[str, Any], decay: float = 0.0) -> Any:
    """The net in float64 with the weights given by address."""
    net = NETS[name]().double()
    net.decay = decay
    with torch.no_grad():
        for own, parameter in net.named_parameters():
            parameter.copy_(torch.from_numpy(_turned(weights[net.ADDRESSES[own]], tuple(parameter.shape))))
    return net


def loss_and_gradients(net: Any, batch: Mapping[str, Any]) -> tuple[float, dict[str, Any]]:
    """The loss of a batch, and its gradients by address, laid out as in the `.net` text."""
    tensors = {key: torch.from_numpy(np.asarray(value)) for key, value in batch.items()}
    net.zero_grad()
    loss = net.loss(**{key: each.double() if each.is_floating_point() else each for key, each in tensors.items()})
    loss.backward()
    return loss.item(), {net.ADDRESSES[own]: p.grad.numpy() for own, p in net.named_parameters()}


def _turned(array: Any, shape: tuple[int, ...]) -> Any:
    """A matrix [in, out] as PyTorch's [out, in]; convolutions have the same layout in both."""
    array = np.asarray(array, np.float64)
    return np.ascontiguousarray(array.T if array.ndim == 2 else array).reshape(shape)


def same_layout(gradient: Any, like: Any) -> Any:
    """PyTorch's gradient in the layout of the `.net` weight."""
    return gradient.T if np.ndim(like) == 2 else gradient.reshape(np.shape(like))
