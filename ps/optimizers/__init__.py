"""Optimizers: frozen specs for the update kernels in ps.kernels.optimize."""

from ps.kernels.optimize import HYPER_WIDTH
from ps.optimizers.adaptive import AdaGrad, Adam, RowwiseAdaGrad
from ps.optimizers.descent import Momentum, Sgd
from ps.optimizers.ftrl import FtrlProximal, GroupLassoFtrl
from ps.optimizers.registry import OPTIMIZERS, optimizer_from_mapping
from ps.optimizers.spec import Optimizer

__all__ = [
    "HYPER_WIDTH",
    "OPTIMIZERS",
    "AdaGrad",
    "Adam",
    "FtrlProximal",
    "GroupLassoFtrl",
    "Momentum",
    "Optimizer",
    "RowwiseAdaGrad",
    "Sgd",
    "optimizer_from_mapping",
]
