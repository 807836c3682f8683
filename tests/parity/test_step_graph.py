"""The whole frame step, sampling included, as one graph: no break, no shape that data decide, no look from the host.

That is what a GPU needs to have it captured once and replayed; it can be shown without one.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.support.recorded_graphs import pretend_graphs
from whispergpt.engine.backends.graph_path import GraphPath
from whispergpt.engine.config import GPT_S, HYBRID, SMALL_CODEC, FineConfig, ModelConfig
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.frame_step import FrameStep
from whispergpt.engine.model.streaming import branch, clone, leaf, map_state
from whispergpt.engine.model.whisper_gpt import WhisperGPT

SLOTS = 3
SHORT_GPT = replace(GPT_S, stack=replace(GPT_S.stack, layers=1))
"""A model of one layer in each stack: more are the same again, and each takes seconds to export."""
assert HYBRID.spectrogram is not None
SHORT_HYBRID = replace(
    HYBRID, stack=SHORT_GPT.stack, spectrogram=replace(HYBRID.spectrogram, layers=1), fine=FineConfig()
)
LOOKS_FROM_THE_HOST = ("aten._local_scalar_dense", "aten.item", "aten.nonzero", "aten.masked_select", "aten.is_nonzero")


@pytest.mark.parametrize("config", [SHORT_HYBRID, SHORT_GPT], ids=["hybrid with fine stage", "gpt-s"])
@torch.no_grad()
def test_the_step_is_one_graph(config: ModelConfig) -> None:
    torch.manual_seed(0)
    step = FrameStep(Codec(SMALL_CODEC), WhisperGPT(config)).eval().requires_grad_(False)
    step.pack()
    draw = torch.Generator().manual_seed(1)
    state = map_state(
        lambda t: torch.randn(t.shape, generator=draw) * 0.3 if t.is_floating_point() else t,
        step.init_state(SLOTS, torch.device("cpu")),
    )
    leaf(branch(state, "sampler"), "temperature").copy_(torch.tensor([1.0, 0.0, 0.7]))
    leaf(branch(state, "sampler"), "top_p").fill_(0.9)
    active = torch.tensor([True, True, False])
    exported = torch.export.export(step, (clone(state), active), strict=True)

    called = {str(node.target) for node in exported.graph.nodes if node.op == "call_function"}
    assert not [name for name in called if any(look in name for look in LOOKS_FROM_THE_HOST)]
    assert not exported.range_constraints, "no shape depends on data"
    assert not [node for node in exported.graph.nodes if node.op == "call_module"]

    by_graph, by_step = clone(state), clone(state)
    for _ in range(3):
        codes, samples = step(by_step, active)
        graph_codes, graph_samples = exported.module()(by_graph, active)
        assert torch.equal(codes, graph_codes) and torch.equal(samples[:2], graph_samples[:2])
    map_state(lambda a, b: torch.testing.assert_close(a, b) or a, by_graph, by_step)
    assert not torch.equal(leaf(by_step, "logits"), leaf(state, "logits")), "the state has moved on"
    assert torch.equal(leaf(by_step, "logits")[2], leaf(state, "logits")[2]), "but not of who does not play"


@pytest.mark.parametrize(
    ("config", "parts"),
    [
        (SHORT_HYBRID, ["lm", "fine", "codec", "mel", "lm", "codec"]),
        (SHORT_GPT, ["lm", "codec", "lm", "codec"]),
    ],
    ids=["hybrid with fine stage", "gpt-s"],
)
def test_a_timed_step_is_replayed_too(config: ModelConfig, parts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The torch path of GPUs computes nothing by itself after the capture, and a timed step is like any other."""
    pretend_graphs(monkeypatch)
    torch.manual_seed(0)
    step = FrameStep(Codec(SMALL_CODEC), WhisperGPT(config)).eval().requires_grad_(False)
    step.pack()
    found, stages = [], {}
    for timed in (False, True):
        with torch.inference_mode():
            state = step.init_state(SLOTS, torch.device("cpu"))
            leaf(branch(state, "sampler"), "temperature").fill_(1.0)
            leaf(branch(state, "sampler"), "seed").copy_(torch.arange(SLOTS))
        path = GraphPath(step, state, SLOTS, torch.device("cpu"))
        with monkeypatch.context() as patch:
            patch.setattr(FrameStep, "forward", lambda *_: pytest.fail("a step was computed eagerly"))
            found.append([path.step([2, 0], stages if timed else None) for _ in range(4)])
        assert [stage for stage, _ in path._parts] == parts
        assert leaf(branch(state, "sampler"), "frame").tolist() == [4, 0, 4]
    for (codes, samples), (timed_codes, timed_samples) in zip(*found, strict=True):
        assert (codes == timed_codes).all() and (samples == timed_samples).all()
    assert len({codes.tobytes() for codes, _ in found[0]}) == 4, "frames follow one another"
    assert stages.keys() == set(parts) and all(seconds > 0 for seconds in stages.values())
