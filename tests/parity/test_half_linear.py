"""Half-precision weights in memory change nothing that matters: the packed step equals the plain one."""

from __future__ import annotations

import pytest
import torch

from engine.checkpoint import load_model
from engine.half_linear import HalfLinear, half_kernel_available, pack_half
from engine.streaming import branch, clone, copy_into, leaf

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(not half_kernel_available(CPU), reason="no FBGEMM kernel on this processor")


@torch.inference_mode()
def test_packed_step_equals_plain_step() -> None:
    plain, packed = load_model("speech", CPU).step, load_model("speech", CPU).step
    packed.pack()
    state = plain.init_state(8, CPU)
    leaf(branch(state, "sampler"), "seed").copy_(torch.arange(8))
    leaf(branch(state, "sampler"), "temperature").fill_(1.0)
    leaf(branch(state, "sampler"), "top_p").fill_(1.0)
    other = clone(state)
    active = torch.ones(8, dtype=torch.bool)
    for _ in range(50):
        codes, samples = plain(state, active)
        packed_codes, packed_samples = packed(other, active)
        assert (codes == packed_codes).all()
        torch.testing.assert_close(packed_samples.float(), samples.float(), atol=2.0, rtol=0)
        torch.testing.assert_close(leaf(other, "logits"), leaf(state, "logits"), atol=1e-3, rtol=1e-4)
        copy_into(other, state)


def test_weights_that_would_change_are_not_packed() -> None:
    with pytest.raises(ValueError, match="half precision"):
        pack_half(torch.full((4, 4), 1 / 3), None)


def test_layer_with_bias_and_leading_dimensions() -> None:
    torch.manual_seed(0)
    layer = HalfLinear(48, 20)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(parameter.half().float())
        x = torch.randn(3, 5, 48)
        wanted = layer(x)
        layer.pack()
        torch.testing.assert_close(layer(x), wanted, atol=1e-5, rtol=1e-5)
