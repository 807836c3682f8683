"""Recipe of a codec's training: every number that decides the weights."""

from __future__ import annotations

from dataclasses import dataclass, field

from whispergpt.engine.config import CODEBOOK_SIZE
from whispergpt.training.codec.adversary import FILTERS
from whispergpt.training.data.augmentation import Augmentation
from whispergpt.training.run import learning_rate

GPU_STEPS = 13_800
"""Steps of a GPU run: about five minutes on an H200."""
ADVERSARY_FROM = 0.83
"""Share of a GPU run's steps after which the adversary starts."""
QUANTIZE_FROM = 0.35
"""Share of the steps before the adversary, after which codebooks start, where no trained ones are given."""

DRAWN_SHARE = 0.5
"""Share of the last stage's crops that have drawn codes, where a model draws some."""
DRAWN_SHARES = (1.0, 0.4, 0.4)
"""Shares of the gradient of these crops: reconstruction without phase, adversary, its features."""


@dataclass(frozen=True)
class StepKind:
    """Kind of a step: steps of one kind compute the same operations.

    ``quantized``: the decoder's input is quantized. ``final``: encoder and codebooks are fixed, and there is an
    adversary. ``teaches``: the adversary learns. ``learns``: the codec learns.
    """

    quantized: bool
    final: bool
    teaches: bool
    learns: bool


@dataclass(frozen=True)
class CodecRecipe:
    """Recipe of three stages: an autoencoder, then its codebooks too, then the decoder alone against an adversary.

    ``quantize_from``: first step with codebooks, which k-means starts. ``adversarial_from``: first step with
    discriminators, in which the encoder and the codebooks are fixed; None: never. Models may be trained on the codes
    from that step on. ``start_from``: digest of the trained codec whose weights the run starts from;
    ``quantize_from`` 0 keeps its codebooks too.

    ``mel_from``: between these steps the weight of the mel term rises from a tenth to one; at full weight from the
    start it hides the waveform's gradient. ``held``: share of the steps at the peak rate, before it falls.
    ``coarse_share`` of the crops are decoded from the first codebook alone and ``full_share`` from all, the others
    from a random number of them. ``coarse_by_mel``: crops from one codebook are judged by the mel terms alone, so that
    their codes need not hold the phase; each step then has the same number of them. ``shares``: see ``Crops``.

    ``adversary_alone``: first steps of the last stage, in which only the discriminators learn, since untrained ones
    would teach the decoder noise. ``adversary_shares``: shares of the gradient at the decoder's output of the
    reconstruction, the adversarial and the feature losses. ``adversary_of``: digest of trained discriminators
    that these begin as; None: new ones.
    ``adversary_batch``: crops in a step of the last stage;
    None: as before it. ``decoder_rate``: peak rate of the last stage, which has a cosine of its own; None: one schedule
    for the whole run. ``decoder_average``: share of the decoder's moving average that a step of the last stage keeps,
    such as 0.999; the averaged weights are written. None: no average. ``decoder_kept``: share of the decoder's weights
    from before the last stage in those that are written (Wortsman et al., arXiv 2109.01903). None: nothing of them.

    ``drawn_by``: digest of the model that drew the finer codes of some of the last stage's crops, which the decoder
    learns to make sound; None: all crops are decoded from the recording's codes. ``drawn_share``: share of these crops;
    None: ``DRAWN_SHARE``. ``drawn_shares``: shares of their gradient, as in ``adversary_shares``; None:
    ``DRAWN_SHARES``.

    ``on_device``: the recordings lie on the device, where crops are drawn and altered; a CUDA device replays the steps
    from graphs. The draws differ from those on the host.

    Raises:
        ValueError: the stages are out of order, settings of the adversary's stage are given without an adversary,
            the shares of crops exceed 1, all or none of a step's are to be judged by mel alone, or drawn codes are
            not possible: codes that are not final, crops on the device, or too few.
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
    coarse_by_mel: bool = False
    adversary_rate: float = 5e-4
    adversary_alone: int = 100
    adversary_shares: tuple[float, float, float] = (1.0, 0.25, 0.25)
    adversary_every: int = 2
    adversary_filters: int = FILTERS
    adversary_of: str | None = None
    adversary_batch: int | None = None
    decoder_rate: float | None = None
    decoder_average: float | None = None
    decoder_kept: float | None = None
    drawn_by: str | None = None
    drawn_share: float | None = None
    drawn_shares: tuple[float, float, float] | None = None
    on_device: bool = False
    seed: int = 0
    shares: tuple[float, ...] | None = None
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        if self.coarse_share + self.full_share > 1:
            raise ValueError(
                f"{self.coarse_share:g} of the crops from one codebook and {self.full_share:g} from all are too many"
            )
        if self.adversarial_from is not None and self.adversarial_from < self.quantize_from:
            raise ValueError(
                f"the adversary comes in at step {self.adversarial_from}, before the codebooks at {self.quantize_from}"
            )
        of_the_stage = ("adversary_of", "adversary_batch", "decoder_rate", "decoder_average", "decoder_kept")
        alone = [name for name in of_the_stage if getattr(self, name)]
        if self.adversarial_from is None and alone:
            raise ValueError(f"{' and '.join(alone)} belong to a stage against an adversary, and there is none")

        self._check_drawn()
        if self.coarse_by_mel:
            last = (self.adversary_batch or self.batch) - self.drawn_count
            stages = {self.batch, last} if self.adversarial_from is not None else {self.batch}
            for crops in sorted(stages):
                if not 0 < self.coarse_count(crops) < crops:
                    raise ValueError(
                        f"{self.coarse_share:g} of {crops} crops from one codebook are none or all of them, but some "
                        "are to be judged by mel alone: more --batch, another --coarse-share"
                    )

    def _check_drawn(self) -> None:
        if self.drawn_by is None:
            given = [name for name in ("drawn_share", "drawn_shares") if getattr(self, name) is not None]
            if given:
                raise ValueError(f"{' and '.join(given)} without a model whose codes are drawn: give drawn_by too")
            return
        if self.on_device:
            raise ValueError("drawn codes are for crops on the host, so not for the gpu preset: give --preset cpu")
        if self.start_from is None or self.adversarial_from != 0:
            raise ValueError(
                "drawn codes are for a codec whose codes are final: give --start-from the model's codec, "
                "--quantize-from 0 and --adversarial-from 0"
            )
        if not 0 < self.drawn_count < (self.adversary_batch or self.batch):
            raise ValueError("drawn codes are for some of the crops, not for all or none: more --batch, another share")

    def mel_weight(self, step: int) -> float:
        """Return the weight of the mel term in one step."""
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
        """Return the kind of one step."""
        final = self.is_adversarial(step)
        alone = final and step - (self.adversarial_from or 0) < self.adversary_alone
        teaches = final and (alone or step % self.adversary_every == 0)
        return StepKind(self.is_quantized(step), final, teaches, learns=not alone)

    def crops_in(self, step: int) -> int:
        """Return the number of crops in one step."""
        return self.adversary_batch if self.adversary_batch and self.is_adversarial(step) else self.batch

    def coarse_count(self, crops: int) -> int:
        """Return how many of a step's crops, its first, are from one codebook and judged by the mel terms alone."""
        return round(self.coarse_share * crops) if self.coarse_by_mel else 0

    @property
    def drawn_count(self) -> int:
        """Return how many of the crops in a step of the last stage have drawn codes."""
        if self.drawn_by is None:
            return 0
        share = DRAWN_SHARE if self.drawn_share is None else self.drawn_share
        return round(share * (self.adversary_batch or self.batch))

    @property
    def vectors_for_entry(self) -> float:
        """Return the mean number of vectors for each codebook entry in a step, at least 1."""
        return max(1.0, self.batch * self.crop_frames / CODEBOOK_SIZE)

    def is_quantized(self, step: int) -> bool:
        """Return whether the decoder's input is quantized in this step."""
        return step >= self.quantize_from

    def is_adversarial(self, step: int) -> bool:
        """Return whether encoder and codebooks are fixed in this step, with an adversary."""
        return self.adversarial_from is not None and step >= self.adversarial_from


def gpu_recipe(steps: int | None, start_from: str | None, adversarial_from: int | None = None) -> CodecRecipe:
    """Return the recipe for a GPU: large batches, an adversary at the end, and stages as shares of the steps.

    A trained codec to start from keeps its codebooks.
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
