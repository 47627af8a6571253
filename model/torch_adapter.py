"""Any torch.nn.Module as a model: the extra `torch`, imported only when an adapter is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from model.batch import Gradients
from model.errors import MissingExtraError, ModelOptionsError
from model.model import DenseShape
from model.models.embedding import Embedding
from model.models.state import Pending
from model.scratch import Scratch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from model.batch import Inputs
    from model.features import FeatureLayout
    from ps.arrays import F32


class TorchModel:
    """A module called as module(embeddings, dense) -> logits.

    embeddings: feature -> float32[n, dim], multi-valued ones pooled; dense: float32[n, dense_width];
    logits: float32[n] or [n, 1]. The module's parameters are the dense variables, under their own
    names; whatever values it was made with are replaced by those handed to forward. Buffers that
    change while training (batch norm's averages) are no variables and are refused.
    """

    def __init__(self, layout: FeatureLayout, dim: int, module: Any, init_scale: float) -> None:
        """init_scale: standard deviation at the start of parameters of two or more dimensions.

        Those of fewer (biases) start at zero. Raises MissingExtraError without torch and
        ModelOptionsError for a module that it cannot hold.
        """
        self._torch = _import_torch()
        if list(module.buffers()):
            raise ModelOptionsError("torch", ["the module has buffers, which nobody would keep"])
        self._layout = layout
        self._dim = dim
        self._module = module.float().train()
        self._init_scale = init_scale
        self._parameters: dict[str, Any] = dict(module.named_parameters())
        self._embedding = Embedding(layout, dim, lead=False)
        self._scratch = Scratch()
        self._pending: Pending[tuple[Any, Any]] = Pending()

    @property
    def row_width(self) -> int:
        """A vector."""
        return self._dim

    @property
    def leading_zeros(self) -> int:
        """None: all of a vector is drawn."""
        return 0

    def dense_shapes(self) -> Mapping[str, DenseShape]:
        """The module's parameters, by name; scalars have the shape (1,)."""
        return {
            name: DenseShape(
                tuple(parameter.shape) or (1,), self._init_scale if parameter.dim() > 1 else None
            )
            for name, parameter in self._parameters.items()
        }

    def forward(self, inputs: Inputs) -> F32:
        """Logits, float32[size]. Raises ModelOptionsError when the module returns another shape."""
        torch = self._torch
        n = inputs.batch.size
        pooled = self._scratch.matrix("x", n, self._embedding.width)
        no_weights = self._scratch.matrix("linear", 1, n)[0]
        self._embedding.forward(inputs, no_weights, pooled)
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                value = np.array(inputs.dense[name])
                parameter.copy_(torch.from_numpy(value).reshape(parameter.shape))
        x = torch.from_numpy(pooled.copy()).requires_grad_()
        vectors = x.view(n, len(self._layout.fields), self._dim)
        embeddings = {field.name: vectors[:, f] for f, field in enumerate(self._layout.fields)}
        logits = self._module(embeddings, torch.from_numpy(np.array(inputs.batch.dense)))
        if tuple(logits.shape) not in {(n,), (n, 1)}:
            shape = tuple(logits.shape)
            raise ModelOptionsError("torch", [f"the module returned {shape}, not ({n},)"])
        logits = logits.reshape(n)
        self._pending.put(inputs, (x, logits))
        found: F32 = logits.detach().numpy().astype(np.float32)
        return found

    def backward(self, dlogits: F32) -> Gradients:
        """Row and dense gradients of the last forward, by autograd."""
        torch = self._torch
        inputs, (x, logits) = self._pending.take()
        parameters = list(self._parameters.values())
        by_x, *by_parameters = torch.autograd.grad(
            logits, [x, *parameters], torch.from_numpy(np.array(dlogits)), allow_unused=True
        )
        dx: F32 = np.zeros(tuple(x.shape), np.float32) if by_x is None else by_x.numpy()
        mean = np.float32(1.0 / max(len(dlogits), 1))
        dense: dict[str, F32] = {}
        for (name, shape), grad in zip(self.dense_shapes().items(), by_parameters, strict=True):
            if grad is None:
                dense[name] = np.zeros(shape.shape, np.float32)
            else:
                dense[name] = np.ascontiguousarray(grad.numpy().reshape(shape.shape) * mean)
        return Gradients(self._embedding.backward(inputs, dlogits, dx), dense)


def _import_torch() -> Any:
    import importlib

    try:
        return importlib.import_module("torch")
    except ModuleNotFoundError as error:
        raise MissingExtraError("torch", "a torch.nn.Module as a model") from error
