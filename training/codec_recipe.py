"""How a codec is trained: every number that decides the weights."""

from __future__ import annotations

from dataclasses import dataclass, field

from training.augmentation import Augmentation


@dataclass(frozen=True)
class CodecRecipe:
    """First an autoencoder, then its codebooks too, at last the decoder alone against an adversary.

    ``quantize_from``: the step at which the codebooks come in, started by k-means. ``adversarial_from``: the step from
    which on the encoder and the codebooks stay as they are (models may be trained on the codes from then on) and the
    decoder learns from discriminators as well; None: never. With ``start_from``, the folder of a trained codec, that
    one's weights are the first ones, and ``quantize_from`` 0 keeps its codebooks too.

    ``mel_from``: between these steps the weight of the mel term rises from a tenth to one; at full weight from the
    start it hides the waveform's gradient. ``held``: share of the steps at the peak rate, before it falls.
    ``coarse_share`` of the crops are decoded from the first codebook alone and ``full_share`` from all, the others
    from a random number of them. ``shares``: see ``Crops``. In the first ``adversary_alone`` steps of
    the last stage only the discriminators learn: of one that knows nothing a decoder learns noise.
    ``adversary_shares``: of the gradient at the decoder's output, those of the reconstruction, the adversarial and the
    feature losses.

    Raises:
        ValueError: the stages are not in their order.
    """

    steps: int = 40_000
    quantize_from: int = 14_000
    adversarial_from: int | None = None
    start_from: str | None = None
    mel_from: tuple[int, int] = (300, 1_500)
    batch: int = 8
    crop_frames: int = 30
    peak_rate: float = 5e-4
    warmup: int = 100
    held: float = 0.4
    commitment: float = 1.0
    coarse_share: float = 0.25
    full_share: float = 0.5
    adversary_rate: float = 5e-4
    adversary_alone: int = 100
    adversary_shares: tuple[float, float, float] = (1.0, 0.25, 0.25)
    adversary_every: int = 2
    seed: int = 0
    shares: tuple[float, ...] | None = None
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        if self.adversarial_from is not None and self.adversarial_from < self.quantize_from:
            raise ValueError(
                f"the adversary comes in at step {self.adversarial_from}, before the codebooks at {self.quantize_from}"
            )

    def mel_weight(self, step: int) -> float:
        """The weight of the mel term in one step."""
        if self.start_from is not None:
            return 1.0
        start, full = self.mel_from
        return 0.1 + 0.9 * min(1.0, max(0.0, (step - start) / (full - start)))

    def is_quantized(self, step: int) -> bool:
        """Whether the decoder hears codes in this step."""
        return step >= self.quantize_from

    def is_adversarial(self, step: int) -> bool:
        """Whether encoder and codebooks are final in this step, and an adversary there."""
        return self.adversarial_from is not None and step >= self.adversarial_from

    def is_only_adversarial(self, step: int) -> bool:
        """Whether nothing of the codec learns in this step."""
        return self.adversarial_from is not None and 0 <= step - self.adversarial_from < self.adversary_alone
