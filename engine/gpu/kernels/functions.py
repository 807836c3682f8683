"""Functions of single numbers that several kernels use."""

from __future__ import annotations

from whispergpt.engine.gpu.language import jit, tl


@jit
def gelu(x: tl.tensor) -> tl.tensor:
    """Return x times the normal distribution function (arXiv 1606.08415), as ``native/src/vector.h`` computes it.

    The error function is Abramowitz and Stegun's 7.1.26, with an absolute error of 2e-7.
    """
    z = tl.abs(x) * 0.70710678
    t = 1.0 / (z * 0.3275911 + 1.0)
    p = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t
    erf = 1.0 - p * tl.exp(-z * z)
    return 0.5 * x * (1.0 + tl.where(x < 0.0, -erf, erf))


@jit
def elu(x: tl.tensor) -> tl.tensor:
    """Return x where it is positive, else exp(x) - 1."""
    return tl.where(x > 0, x, tl.exp(tl.minimum(x, 0.0)) - 1.0)


@jit
def sigmoid(x: tl.tensor) -> tl.tensor:
    """Return 1 / (1 + exp(-x))."""
    return 1.0 / (1.0 + tl.exp(-x))


@jit
def hyperbolic_tangent(x: tl.tensor) -> tl.tensor:
    """Return tanh(x), which keeps its sign and never overflows."""
    shrunk = tl.exp(-2.0 * tl.abs(x))
    size = (1.0 - shrunk) / (1.0 + shrunk)
    return tl.where(x < 0, -size, size)


@jit
def activated(x: tl.tensor, ACTIVATION: tl.constexpr) -> tl.tensor:
    """Return x through an activation of ``kernels.product``: none, GELU or ELU."""
    if ACTIVATION == 1:
        x = gelu(x)
    elif ACTIVATION == 2:
        x = elu(x)
    return x
