"""One step of a codec's training, in whichever of its three stages."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from engine.codec import Codec
from training.adversary import Adversary
from training.balancer import Balancer
from training.codec_recipe import CodecRecipe
from training.losses import ReconstructionLoss
from training.precision import products_in
from training.vector_quantization import quantize_for_training

MOST_GRADIENT = 10.0
SPREAD_WEIGHT = 1.0
"""Of the squared logarithm of the latents' standard deviation. Nothing else fixes their scale; the straight-through
gradient drove it up by half in ten steps, faster than codebooks can follow (measured), until nothing was left."""


class CodecStep:
    """A codec, what it learns from, and the optimisers.

    Args:
        autocast: the type in which encoder, decoder and discriminators multiply; float32 for none other. Losses,
            codebooks and weights are float32 always.
    """

    def __init__(self, codec: Codec, recipe: CodecRecipe, device: torch.device, autocast: torch.dtype) -> None:
        self.codec, self.recipe, self.device, self.autocast = codec, recipe, device, autocast
        self.loss_of = ReconstructionLoss().to(device)
        self.optimizer = torch.optim.Adam(codec.parameters(), lr=recipe.peak_rate, betas=(0.9, 0.99))
        self.parts: dict[str, nn.Module | torch.optim.Optimizer] = {"model": codec, "optimizer": self.optimizer}
        if recipe.adversarial_from is not None:
            adversary = Adversary().to(device)
            self.parts |= {
                "adversary": adversary,
                "adversary_optimizer": torch.optim.Adam(
                    adversary.parameters(), lr=recipe.adversary_rate, betas=(0.5, 0.9)
                ),
                "balancer": Balancer(
                    dict(zip(("total", "adversarial", "features"), recipe.adversary_shares, strict=True))
                ).to(device),
            }

    def learn(self, step: int, rate: float, audio: Tensor) -> dict[str, Tensor]:
        """Learn from crops ``[B, samples]`` at the learning rate ``rate``; the losses, by name."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        frozen, only_adversary = self.recipe.is_adversarial(step), self.recipe.is_only_adversarial(step)
        latents, commitment = self._latents(step, audio, frozen)
        with torch.set_grad_enabled(not only_adversary):
            with self._cast():
                made = self.codec.decoder(latents)[:, 0]
            made = made.float()
            terms = self.loss_of(made, audio, self.recipe.mel_weight(step))
        if frozen and (only_adversary or step % self.recipe.adversary_every == 0):
            terms |= self._teach_the_adversary(made, audio)
        if only_adversary:
            return terms
        if frozen:
            terms |= self._against_the_adversary(made, audio, terms)
        else:
            anchor = latents.std().log().square()
            (terms["total"] + self.recipe.commitment * commitment + SPREAD_WEIGHT * anchor).backward()
        nn.utils.clip_grad_norm_(self.codec.parameters(), MOST_GRADIENT)
        self.optimizer.step()
        return terms | {"commitment": commitment, "spread": latents.std()}

    def _latents(self, step: int, audio: Tensor, frozen: bool) -> tuple[Tensor, Tensor]:
        """Quantised or not ``[B, dimension, T]``, and the commitment loss."""
        with torch.set_grad_enabled(not frozen):
            with self._cast():
                latents = self.codec.encoder(audio[:, None])
            latents = latents.float()
            if not self.recipe.is_quantized(step):
                return latents, latents.new_zeros(())
            used = self._codebooks_used(step, len(audio)).to(self.device)
            return quantize_for_training(self.codec.quantizer, latents, used, learn=not frozen)

    def _teach_the_adversary(self, made: Tensor, audio: Tensor) -> dict[str, Tensor]:
        optimizer = cast(torch.optim.Optimizer, self.parts["adversary_optimizer"])
        optimizer.zero_grad(set_to_none=True)
        with self._cast():
            own = cast(Adversary, self.parts["adversary"]).own_loss(made.detach(), audio)
        own.backward()
        optimizer.step()
        return {"adversary": own}

    def _against_the_adversary(self, made: Tensor, audio: Tensor, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        with self._cast():
            judged = cast(Adversary, self.parts["adversary"]).losses(made, audio)
        cast(Balancer, self.parts["balancer"]).backward(terms | judged, made)
        return judged

    def _codebooks_used(self, step: int, batch: int) -> Tensor:
        """Codebook dropout: how many codebooks each crop is decoded from, ``[B]``."""
        draw = np.random.default_rng((self.recipe.seed, step, 1))
        used = draw.integers(2, self.codec.config.n_codebooks + 1, batch)
        kind = draw.random(batch)
        used[kind < self.recipe.coarse_share] = 1
        used[kind > 1 - self.recipe.full_share] = self.codec.config.n_codebooks
        return torch.from_numpy(used)

    def _cast(self) -> torch.autocast:
        return products_in(self.autocast, self.device)
