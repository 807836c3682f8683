"""Step of a codec's training, in any of its three stages."""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn

from whispergpt.engine.config import HOP
from whispergpt.engine.model.codec import Codec
from whispergpt.training.codec.adversary import Adversary
from whispergpt.training.codec.balancer import Balancer
from whispergpt.training.codec.drawn_batch import LEAD_FRAMES, DrawnBatch
from whispergpt.training.codec.losses import ReconstructionLoss, partly_without_phase, without_phase
from whispergpt.training.codec.recipe import DRAWN_SHARES, CodecRecipe, StepKind
from whispergpt.training.codec.vector_quantization import quantize_for_training
from whispergpt.training.codec.weight_average import WeightAverage
from whispergpt.training.optimizers import DeviceAdam, set_rate
from whispergpt.training.precision import products_in

MOST_GRADIENT = 10.0
SHARED = ("total", "adversarial", "features")
"""Names of the losses that share the gradient in the last stage, in the order of a recipe's shares."""
SPREAD_WEIGHT = 1.0
"""Weight of the squared logarithm of the latents' standard deviation. Nothing else fixes their scale: the
straight-through gradient drove it up by half in ten steps, faster than codebooks can follow, and training collapsed
(measured)."""


class CodecStep:
    """A codec with its losses and optimisers.

    Args:
        autocast: type of the products in encoder, decoder and discriminators. Losses, codebooks and weights are
            always float32.
    """

    def __init__(self, codec: Codec, recipe: CodecRecipe, device: torch.device, autocast: torch.dtype) -> None:
        self.codec, self.recipe, self.device, self.autocast = codec, recipe, device, autocast
        self.loss_of = ReconstructionLoss().to(device)
        self.optimizer = self._adam(codec, recipe.peak_rate, (0.9, 0.99))
        self.parts: dict[str, nn.Module | torch.optim.Optimizer] = {"model": codec, "optimizer": self.optimizer}
        self._average: WeightAverage | None = None
        self._before: nn.Module | None = None
        """Copy of the decoder as it was before the last stage."""
        if recipe.adversarial_from is not None:
            adversary = Adversary(filters=recipe.adversary_filters).to(device)
            self.parts |= {
                "adversary": adversary,
                "adversary_optimizer": self._adam(adversary, recipe.adversary_rate, (0.5, 0.9)),
                "balancer": _balancer(recipe.adversary_shares).to(device),
            }
            if recipe.drawn_by is not None:
                self.parts["drawn_balancer"] = _balancer(recipe.drawn_shares or DRAWN_SHARES).to(device)
            if recipe.decoder_average is not None:
                self._average = WeightAverage(codec.decoder, recipe.decoder_average)
                self.parts["average"] = self._average
            if recipe.decoder_kept is not None:
                self.parts["before"] = self._before = copy.deepcopy(codec.decoder).requires_grad_(False)

    def _adam(self, module: nn.Module, rate: float, betas: tuple[float, float]) -> torch.optim.Adam:
        if self.recipe.on_device:
            return DeviceAdam(module.parameters(), torch.tensor(rate, device=self.device), betas)
        return torch.optim.Adam(module.parameters(), lr=rate, betas=betas)

    def learn(self, step: int, rate: float, audio: Tensor, drawn: DrawnBatch | None = None) -> dict[str, Tensor]:
        """Learn from crops ``[B, samples]`` at the learning rate ``rate`` and return the losses by name."""
        self.begin(step, rate)
        used, mel_weight = self.draw_codebooks_used(len(audio)), self.recipe.mel_weight(step)
        return self.compute(self.recipe.kind(step), audio, used, mel_weight, drawn)

    def begin(self, step: int, rate: float) -> None:
        """Prepare a step's ``compute``: set the learning rate; in the last stage's first step, note the decoder."""
        set_rate(self.optimizer, rate)
        if step != self.recipe.adversarial_from:
            return
        if self._average is not None:
            self._average.restart(self.codec.decoder)
        if self._before is not None:
            self._before.load_state_dict(self.codec.decoder.state_dict())

    def compute(
        self, kind: StepKind, audio: Tensor, used: Tensor, mel_weight: float | Tensor, drawn: DrawnBatch | None = None
    ) -> dict[str, Tensor]:
        """Compute a step of this kind and return its losses; a graph can capture all of it.

        Args:
            audio: crops ``[B, samples]``.
            used: number of codebooks that each crop is decoded from, ``[B]``, as ``draw_codebooks_used`` draws it.
            drawn: further crops of the last stage, with codes of their own.
        """
        self.optimizer.zero_grad(set_to_none=True)
        latents, commitment = self._latents(kind, audio, used)
        with torch.set_grad_enabled(kind.learns):
            made = self._decoded(latents)
            coarse = self.recipe.coarse_count(len(audio)) if kind.quantized else 0
            terms = partly_without_phase(self.loss_of, made, audio, coarse, mel_weight)
            heard = (made, audio)
            if drawn is not None:
                spoken = self._spoken(drawn)
                heard = (torch.cat([made, spoken]), torch.cat([audio, drawn.audio]))
        if kind.teaches:
            terms |= self._teach_the_adversary(*heard)
        if not kind.learns:
            return terms
        if kind.final:
            terms |= self._against_the_adversary("balancer", made, audio, terms)
            if drawn is not None:
                terms |= self._against_it_when_drawn(spoken, drawn.audio)
        else:
            anchor = latents.std().log().square()
            (terms["total"] + self.recipe.commitment * commitment + SPREAD_WEIGHT * anchor).backward()
        nn.utils.clip_grad_norm_(self.codec.parameters(), MOST_GRADIENT)
        self.optimizer.step()
        if kind.final and self._average is not None:
            self._average.follow(self.codec.decoder)
        return terms | {"commitment": commitment, "spread": latents.std()}

    def begin_adversary(self, weights: dict[str, Tensor]) -> None:
        """Begin with trained discriminators.

        Raises:
            ValueError: they are of another size.
        """
        adversary = self.parts["adversary"]
        assert isinstance(adversary, Adversary)
        try:
            adversary.load_state_dict(weights)
        except RuntimeError:
            raise ValueError("the discriminators to begin with are of another size") from None

    def forget_gradients(self) -> None:
        """Drop all gradients, so that the next step allocates its own."""
        for part in self.parts.values():
            if isinstance(part, torch.optim.Optimizer):
                part.zero_grad(set_to_none=True)

    def kept(self, step: int) -> Codec:
        """Return the codec to be written after a step: in the last stage with the decoder averaged over the stage's
        steps, then mixed with its weights from before the stage, where the recipe asks for that."""
        if not self.recipe.is_adversarial(step) or (self._average is None and self._before is None):
            return self.codec
        codec = copy.deepcopy(self.codec)
        if self._average is not None:
            codec.decoder.load_state_dict(self._average.module.state_dict())
        if self._before is not None and self.recipe.decoder_kept is not None:
            with torch.no_grad():
                for weight, before in zip(codec.decoder.parameters(), self._before.parameters(), strict=True):
                    weight.lerp_(before, self.recipe.decoder_kept)
        return codec

    def _latents(self, kind: StepKind, audio: Tensor, used: Tensor) -> tuple[Tensor, Tensor]:
        """Return latents ``[B, dimension, T]``, quantised where ``kind`` is, and the commitment loss."""
        with torch.set_grad_enabled(not kind.final):
            with self._cast():
                latents = self.codec.encoder(audio[:, None])
            latents = latents.float()
            if not kind.quantized:
                return latents, latents.new_zeros(())
            return quantize_for_training(self.codec.quantizer, latents, used, learn=not kind.final)

    def _decoded(self, latents: Tensor) -> Tensor:
        """Return the sound ``[B, samples]`` of latents ``[B, dimension, T]``."""
        with self._cast():
            made = self.codec.decoder(latents)[:, 0]
        return made.float()

    def _spoken(self, drawn: DrawnBatch) -> Tensor:
        """Return the sound ``[B, samples]`` of crops with drawn codes, without what leads to them."""
        return self._decoded(self.codec.quantizer.decode(drawn.codes))[:, LEAD_FRAMES * HOP :]

    def _teach_the_adversary(self, made: Tensor, audio: Tensor) -> dict[str, Tensor]:
        optimizer = cast(torch.optim.Optimizer, self.parts["adversary_optimizer"])
        optimizer.zero_grad(set_to_none=True)
        with self._cast():
            own = cast(Adversary, self.parts["adversary"]).own_loss(made.detach(), audio)
        own.backward()
        optimizer.step()
        return {"adversary": own}

    def _against_the_adversary(
        self, balancer: str, made: Tensor, audio: Tensor, terms: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Backpropagate the adversary's losses and those in ``terms``, balanced, and return the adversary's by name."""
        with self._cast():
            judged = cast(Adversary, self.parts["adversary"]).losses(made, audio)
        cast(Balancer, self.parts[balancer]).backward(terms | judged, made)
        return judged

    def _against_it_when_drawn(self, made: Tensor, audio: Tensor) -> dict[str, Tensor]:
        """Backpropagate the losses of crops whose codes do not hold the phase, and return them by name."""
        total = without_phase(self.loss_of(made, audio))
        judged = self._against_the_adversary("drawn_balancer", made, audio, {"total": total})
        return {f"drawn_{name}": loss for name, loss in {"total": total, **judged}.items()}

    def draw_codebooks_used(self, batch: int) -> Tensor:
        """Draw the number of codebooks for each crop ``[B]`` with the device's own generator (codebook dropout)."""
        every, recipe = self.codec.config.n_codebooks, self.recipe
        used = torch.randint(2, every + 1, (batch,), device=self.device)
        kind = torch.rand(batch, device=self.device)
        if recipe.coarse_by_mel:
            used = used.masked_fill(kind > 1 - recipe.full_share / (1 - recipe.coarse_share), every)
            used[: recipe.coarse_count(batch)] = 1
            return used
        used = used.masked_fill(kind < recipe.coarse_share, 1)
        return used.masked_fill(kind > 1 - recipe.full_share, every)

    def _cast(self) -> torch.autocast:
        return products_in(self.autocast, self.device, keep_casts=not self.recipe.on_device)


def _balancer(shares: tuple[float, float, float]) -> Balancer:
    return Balancer(dict(zip(SHARED, shares, strict=True)))
