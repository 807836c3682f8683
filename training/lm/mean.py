"""The mean of two models' weights, or of two codecs'.

Of two runs that began from the same weights it mostly lies between the two, in a codec often nearer to the better one
in each respect (Wortsman et al., arXiv 2109.01903).
"""

from __future__ import annotations

from dataclasses import replace

from whispergpt.engine.checkpoints.checkpoint import LoadedModel
from whispergpt.engine.config import ModelConfig
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.whisper_gpt import WhisperGPT
from whispergpt.training.codec.drawn_codes import have_same_codes
from whispergpt.training.lm.other_weights import with_weights


def mean_of(first: LoadedModel, second: LoadedModel, share: float) -> LoadedModel:
    """Return a model whose weights are the mean of two models'; codec and defaults are the first's.

    Args:
        share: of the second's weights, 0 to 1.

    Raises:
        ValueError: the two differ in their codes, their sizes or their licence.
    """
    one, other = first.step.model, second.step.model
    same = {
        "codes": have_same_codes(first.step.plain_codec, second.step.plain_codec),
        "sizes": _sizes(one.config) == _sizes(other.config),
        "licence": first.licence == second.licence,
    }
    for what, agrees in same.items():
        if not agrees:
            raise ValueError(f"{first.id} and {second.id} do not have the same {what}, so they cannot be averaged")
    model = WhisperGPT(one.config)
    theirs = other.state_dict()
    model.load_state_dict({name: weight.lerp(theirs[name], share) for name, weight in one.state_dict().items()})
    return with_weights(first, model, f"{first.digest} {second.digest} {share}")


def mean_of_codecs(first: Codec, second: Codec, share: float) -> Codec:
    """Return a codec whose weights are the mean of two codecs'; of the same number are the same codes.

    Args:
        share: of the second's weights, 0 to 1.

    Raises:
        ValueError: the two differ in their sizes.
    """
    if first.config != second.config:
        raise ValueError("the two codecs do not have the same sizes, so they cannot be averaged")
    codec, theirs = Codec(first.config), second.state_dict()
    codec.load_state_dict({name: weight.lerp(theirs[name], share) for name, weight in first.state_dict().items()})
    return codec.eval()


def _sizes(config: ModelConfig) -> ModelConfig:
    """Return what must be the same for a mean: all but the temperature of the finer codes."""
    return config if config.fine is None else replace(config, fine=replace(config.fine, temperature=0.0))
