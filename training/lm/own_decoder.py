"""A decoder for one model: it has learnt the codes of this model's fine stage (``train codec --drawn-by``)."""

from __future__ import annotations

from dataclasses import replace

from whispergpt.engine.checkpoints.checkpoint import LoadedModel
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.whisper_gpt import WhisperGPT
from whispergpt.training.codec.drawn_codes import require_same_codes
from whispergpt.training.lm.other_weights import with_weights
from whispergpt.training.tokens.tokens import digest_of


def with_decoder(model: LoadedModel, codec: Codec, fine_temperature: float | None = None) -> LoadedModel:
    """Return ``model`` with ``codec``'s decoder as its own; the model's codec keeps the one that it has.

    Args:
        fine_temperature: that of the finer codes from now on; None: as before.

    Raises:
        ValueError: ``codec`` has other codes than the model, or no finer codes are drawn at a temperature.
    """
    require_same_codes(codec, model.step.plain_codec)
    old = model.step.model
    config = replace(old.config, decoder=codec.config)
    if fine_temperature is not None:
        if config.fine is None:
            raise ValueError(f"{model.id} has no fine stage, so that there is no temperature of finer codes")
        config = replace(config, fine=config.fine.with_temperature(fine_temperature))
    new = WhisperGPT(config)
    weights = {name: weight for name, weight in old.state_dict().items() if not name.startswith("decoder.")}
    decoder = {f"decoder.{name}": weight for name, weight in codec.decoder.state_dict().items()}
    new.load_state_dict({**weights, **decoder})
    return with_weights(model, new, f"{model.digest} {config} {digest_of(codec.decoder)}")
