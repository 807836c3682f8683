"""How a codec is trained: every number that decides the weights."""

from __future__ import annotations

from dataclasses import dataclass, field

from whispergpt.engine.config import CODEBOOK_SIZE
from whispergpt.training.codec.adversary import FILTERS
from whispergpt.training.data.augmentation import Augmentation
from whispergpt.training.run import learning_rate

GPU_STEPS = 13_800
"""Steps of a GPU run: some five minutes on an H200."""
ADVERSARY_FROM = 0.83
"""Share of a GPU run's steps before the adversary comes in."""
QUANTIZE_FROM = 0.35
"""Share of the steps before that, at which codebooks come in where no trained ones are gone on from."""


@dataclass(frozen=True)
class StepKind:
    """Kind of a step: steps of one kind compute the same operations.

    ``quantized``: the decoder hears codes. ``final``: encoder and codebooks stay as they are, and an adversary is
    there. ``teaches``: the adversary learns. ``learns``: the codec learns.
    """

    quantized: bool
    final: bool
    teaches: bool
    learns: bool


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
    the last stage only the discriminators learn: an untrained one would teach the decoder noise.
    ``adversary_shares``: of the gradient at the decoder's output, those of the reconstruction, the adversarial and the
    feature losses. ``adversary_batch``: crops in a step of the last stage; None: as before it. ``decoder_rate``: peak
    rate of the last stage, in which the rate then falls by a cosine of its own; None: one schedule for the whole run.
    ``decoder_average``: share of its average that the last stage's decoder keeps in a step (0.999, say); the averaged
    weights are the ones that are written. None: there is no average.

    ``on_device``: the recordings lie on the device, where crops are drawn, altered and, on a CUDA device, replayed from
    graphs. The draws are others than without it.

    Raises:
        ValueError: the stages are not in their order, or there is no adversary for what belongs to its stage.
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
    adversary_filters: int = FILTERS
    adversary_batch: int | None = None
    decoder_rate: float | None = None
    decoder_average: float | None = None
    on_device: bool = False
    seed: int = 0
    shares: tuple[float, ...] | None = None
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        if self.adversarial_from is not None and self.adversarial_from < self.quantize_from:
            raise ValueError(
                f"the adversary comes in at step {self.adversarial_from}, before the codebooks at {self.quantize_from}"
            )
        alone = [name for name in ("adversary_batch", "decoder_rate", "decoder_average") if getattr(self, name)]
        if self.adversarial_from is None and alone:
            raise ValueError(f"{' and '.join(alone)} belong to a stage against an adversary, and there is none")

    def mel_weight(self, step: int) -> float:
        """The weight of the mel term in one step."""
        if self.start_from is not None:
            return 1.0
        start, full = self.mel_from
        return 0.1 + 0.9 * min(1.0, max(0.0, (step - start) / (full - start)))

    def rate(self, step: int) -> float:
        """Return the learning rate of the codec in one step."""
        first = self.adversarial_from
        if self.decoder_rate is None or first is None:
            return learning_rate(step, self.steps, self.peak_rate, self.warmup, self.held)
        if step < first:
            return learning_rate(step, first, self.peak_rate, self.warmup, self.held)
        return learning_rate(step - first, self.steps - first, self.decoder_rate, warmup=0)

    def kind(self, step: int) -> StepKind:
        """Return what is computed in one step."""
        final, alone = self.is_adversarial(step), self.is_only_adversarial(step)
        teaches = final and (alone or step % self.adversary_every == 0)
        return StepKind(self.is_quantized(step), final, teaches, learns=not alone)

    def crops_in(self, step: int) -> int:
        """Return how many crops one step sees."""
        return self.adversary_batch if self.adversary_batch and self.is_adversarial(step) else self.batch

    @property
    def vectors_for_entry(self) -> float:
        """Vectors that each entry of a codebook gets in a step, on average; 1 where it is less."""
        return max(1.0, self.batch * self.crop_frames / CODEBOOK_SIZE)

    def is_quantized(self, step: int) -> bool:
        """Whether the decoder hears codes in this step."""
        return step >= self.quantize_from

    def is_adversarial(self, step: int) -> bool:
        """Whether encoder and codebooks are final in this step, and an adversary there."""
        return self.adversarial_from is not None and step >= self.adversarial_from

    def is_only_adversarial(self, step: int) -> bool:
        """Whether nothing of the codec learns in this step."""
        return self.adversarial_from is not None and 0 <= step - self.adversarial_from < self.adversary_alone


def gpu_recipe(steps: int | None, start_from: str | None, adversarial_from: int | None = None) -> CodecRecipe:
    """Return the recipe for a GPU, whose stages are shares of the run: large batches, and an adversary at the end.

    Where it starts from a trained codec, its codebooks are gone on from.
    """
    steps = GPU_STEPS if steps is None else steps
    adversarial_from = round(ADVERSARY_FROM * steps) if adversarial_from is None else adversarial_from
    return CodecRecipe(
        steps=steps,
        quantize_from=0 if start_from else round(QUANTIZE_FROM * adversarial_from),
        adversarial_from=adversarial_from,
        start_from=start_from,
        batch=96,
        crop_frames=40,
        peak_rate=6e-4,
        warmup=round(0.01 * adversarial_from),
        held=0.35,
        adversary_filters=16,
        adversary_batch=32,
        decoder_rate=3e-4,
        on_device=True,
    )
