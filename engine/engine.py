"""The engine: one model, its slots, and the loop body that turns prompts into streams of frames."""

from __future__ import annotations

import itertools
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from statistics import median

import numpy as np
import numpy.typing as npt
import torch

from whispergpt.engine.audio.audio_file import Samples
from whispergpt.engine.backends.prompt_path import PromptState, prompt_path
from whispergpt.engine.backends.step_path import (
    TILE,
    Codes,
    NativePath,
    kept_dtype,
    step_path,
    whole_tiles,
    workspace_bytes,
)
from whispergpt.engine.checkpoints.checkpoint import LoadedModel, ModelError, load_model
from whispergpt.engine.checkpoints.installed import package_version
from whispergpt.engine.checkpoints.room import require_room
from whispergpt.engine.config import FRAME_RATE, SAMPLE_RATE, Dtype
from whispergpt.engine.device import dtype_name, for_prompts, for_steps, loss_of_device, pick_device
from whispergpt.engine.messages.events import ModelInfo
from whispergpt.engine.model.frame_step import LOST
from whispergpt.engine.native.check import find_kernels
from whispergpt.engine.prompts.prompt import Prompt, PromptEncoder
from whispergpt.engine.prompts.resume import ResumeError, frames_in_exact_snapshot, resumed_codes
from whispergpt.engine.stream_plan import SamplingParams, Snapshot, StreamPlan
from whispergpt.engine.streams.capacity import MOST_LOAD, StepCost
from whispergpt.engine.streams.columns import SlotNumbers
from whispergpt.engine.streams.scheduler import Scheduler, Stream
from whispergpt.engine.streams.slots import Slots
from whispergpt.engine.streams.snapshots import Snapshots
from whispergpt.engine.streams.step_report import Frames, Generated, StepReport

STAGE_EVERY = 50
"""Steps from one that is timed stage by stage to the next."""
COST_STEPS = 5
"""Steps whose median counts as the time of a step."""
_TRIED = SamplingParams(seed=0, temperature=1.0, top_k=0, top_p=1.0)
SNAPSHOT_EVERY = FRAME_RATE
"""Frames of a stream between two from which it can go on elsewhere; the first is its beginning."""


class Engine:
    """Streams of one model, stepped together.

    Args:
        model: the loaded model.
        device: where it runs.
        max_streams: slots; rounded up to whole tiles for the state, never exceeded by streams.
        exact: whether streams that go on elsewhere are to do so with the very same samples; it makes what they
            take along five times as large, and only compiled kernels can do it.
        dtype: of products: ``auto`` is bfloat16 on processors and GPUs that have units for it, else float32; ``int8``
            needs the compiled kernels of CPUs, and raises ModelError without them.
        sharing: engines that share the processors, this one included.
        keep_bandwidth: whether streams keep to the bandwidth of their prompts; False to measure the model alone.
    """

    def __init__(
        self,
        model: LoadedModel,
        device: torch.device,
        max_streams: int = 2 * TILE,
        exact: bool = False,
        dtype: Dtype = "auto",
        sharing: int = 1,
        keep_bandwidth: bool = True,
    ) -> None:
        self.model, self.device, self._keep_bandwidth = model, device, keep_bandwidth
        self.scheduler = Scheduler(max_streams)
        self._ids = itertools.count(1)
        self._steps = 0
        self._changed: set[Stream] = set()
        """Streams whose sampling changes at their next frame, which needs a checkpoint."""
        if device.type == "cpu":
            # Torch encodes prompts, in one thread, so that the step has the other cores.
            torch.set_num_threads(1)
        model.step.pack()
        slots = whole_tiles(max_streams, device)
        with torch.inference_mode():
            self.kernels = find_kernels(model.step, device, dtype)
            if dtype == "int8" and self.kernels.weights is None:
                why = f"{self.kernels.missing_because or f'the device is {device}'}; choose another --dtype."
                raise ModelError(f"int8 needs the compiled kernels of CPUs, which cannot be used: {why}")
            kept_in = kept_dtype(device, self.kernels, dtype)
            workspace = workspace_bytes(model.step, device, kept_in)
            require_room(model, slots, device, kept_in, whole_tiles(1, device), workspace)
            with for_steps(device):
                self._slots = Slots(model.step, slots, device, kept_in)
                self.path = step_path(model.step, self._slots.state, slots, device, self.kernels, sharing)
                self._slots.low_pass = self.path.low_pass
            with for_prompts(device):
                self._prompts = prompt_path(model.step, device, self.kernels, kept_in)
        config = model.step.model.config
        self._exact = exact and isinstance(self.path, NativePath)
        if config.fine is not None:  # without one, frames have fewer codes than their prompt's
            self._slots.snapshots = Snapshots(slots, config, model.step.books, self._exact)

    @classmethod
    def load(
        cls,
        name_or_folder: str,
        device: str = "auto",
        max_streams: int = 2 * TILE,
        exact: bool = False,
        dtype: Dtype = "auto",
        sharing: int = 1,
        keep_bandwidth: bool = True,
    ) -> Engine:
        """Load a model by name or folder; the arguments are those of ``Engine``.

        Raises:
            ModelError: it cannot be loaded.
            DeviceError: the device is not there.
        """
        picked = pick_device(device)
        if picked.type == "cuda":
            torch.cuda.set_device(picked)  # graphs and events belong to the current device, else always the first
        try:
            loaded = load_model(name_or_folder, picked)
            return cls(loaded, picked, max_streams, exact, dtype, sharing, keep_bandwidth)
        except (MemoryError, RuntimeError) as error:
            # torch has a type of its own for a GPU's memory alone.
            if isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error):
                raise ModelError(
                    f"There is not enough memory for the model {name_or_folder!r} and {max_streams} streams; "
                    "allow fewer (--max-streams)."
                ) from None
            raise

    @property
    def dtype(self) -> str:
        """Return the type of the step's products: ``float32``, ``bfloat16`` or ``int8``."""
        return dtype_name(self.path.dtype)

    @property
    def fingerprint(self) -> str:
        """Return what samples depend on beside the request: version, model, device, dtype and kernel path.

        ``float32-portable`` and ``int8-portable`` are the same on all processors with kernels; there neither torch's
        version nor the number of threads matters.
        """
        start = f"{package_version()}/{self.model.id}-{self.model.digest}"
        if isinstance(self.path, NativePath) and self.path.portable:
            return f"{start}/cpu/{self.dtype}-portable/{self.path.name}"
        if self.device.type == "cuda":
            place = torch.cuda.get_device_name(self.device).replace(" ", "-")
        else:
            place = f"cpu-{torch.backends.cpu.get_cpu_capability().lower()}-{torch.get_num_threads()}t"
        return f"{start}/torch-{torch.__version__}/{place}/{self.dtype}/{self.path.name}"

    def info(self) -> ModelInfo:
        """Return the model's description for ``/v1/models``."""
        defaults, weights = self.model.defaults, self.kernels.weights
        return ModelInfo(
            id=self.model.id,
            parameters=self.model.step.model.parameter_count(),
            sample_rate=SAMPLE_RATE,
            frame_rate=FRAME_RATE,
            defaults={"temperature": defaults.temperature, "top_k": defaults.top_k, "top_p": defaults.top_p},
            licence=self.model.licence,
            fingerprint=self.fingerprint,
            slots=self.scheduler.slots,
            revision=self.model.revision,
            slow_because=self.path.slow_because,
            digest=self.model.digest,
            resumable=self._slots.snapshots is not None,
            exactly=self._slots.snapshots is not None and self._exact,
            kernels=self.path.name if weights is None else weights.library.label,
        )

    def open_prompt(self) -> PromptEncoder:
        """Return the encoder of a prompt that will arrive piece by piece."""
        with torch.inference_mode():
            state = PromptState.fresh(self.model.step, self.device, self.path.dtype)
            return PromptEncoder(self._prompts, state, self._slots.influence, self._keep_bandwidth)

    def encode_prompt(self, audio: Samples) -> Prompt:
        """Encode a whole prompt: mono float32 samples ``[n]`` at 24 kHz.

        Raises:
            AudioError: shorter than 0.5 or longer than 60 seconds.
        """
        encoder = self.open_prompt()
        encoder.push(audio)
        return encoder.finish()

    def resume(self, snapshot: Snapshot) -> PromptEncoder:
        """A prompt of what a stream had behind it, as its ``SnapshotTaken`` says.

        Raises:
            ResumeError: it is not one of a stream of this model.
        """
        if self._slots.snapshots is None:
            raise ResumeError(f"Streams of '{self.model.id}' cannot go on from a token: it has no fine stage.")
        most = frames_in_exact_snapshot(self.model.step.model.config)  # it may come from a strict server
        with torch.inference_mode(), for_prompts(self.device):
            state = PromptState.fresh(self.model.step, self.device, self.path.dtype)
            codes = resumed_codes(state, snapshot, self.model.step.books, most).to(self.device)
            return PromptEncoder.resuming(self._prompts, state, codes, self._slots.influence, snapshot)

    def start(self, stream: Stream) -> None:
        """Queue a stream; it plays from the step at which a slot is free."""
        self.scheduler.add(stream)

    def stream(self, prompt: Prompt, sampling: SamplingParams, frames: int | None) -> Stream:
        """Start a stream whose caller takes every frame at once."""
        made = Stream(next(self._ids), prompt, StreamPlan(sampling, frames), credit=None)
        self.start(made)
        return made

    def cancel(self, stream: Stream) -> None:
        """End a stream before the next step; its slot is free at once."""
        self.scheduler.end(stream, "cancelled")

    def change_sampling(self, stream: Stream, sampling: SamplingParams) -> None:
        """Draw a stream's codes differently from its next frame on."""
        stream.sampling = sampling
        if stream.status == "playing":
            with torch.inference_mode(), for_steps(self.device):
                self._slots.set_sampling([stream.slot], [sampling])
            self._changed.add(stream)

    @torch.inference_mode()
    def step(self) -> StepReport:
        """Admit waiting streams, then give every runnable stream its next frame."""
        with for_steps(self.device):
            return self._step()

    def _step(self) -> StepReport:
        report = StepReport(started=self.scheduler.admit())
        if report.started:
            self._begin(report.started, report)
        if self._changed:
            self._remember([stream for stream in self._changed if stream.status == "playing"], report)
            self._changed.clear()
        slots = self.scheduler.due()
        if not len(slots):
            return report
        began = time.perf_counter()
        timed = self._steps % STAGE_EVERY == STAGE_EVERY - 1
        codes, samples = self.path.step(slots, report.stages if timed else None)
        whole = codes[:, 0] != LOST
        if not whole.all():
            self._fail(self.scheduler.streams(slots[~whole]), report)
            slots, codes, samples = slots[whole], codes[whole], samples[whole]
        if len(slots):
            self._take(slots, codes, samples, report)
        report.seconds = time.perf_counter() - began
        self._steps += 1
        return report

    def _take(self, slots: SlotNumbers, codes: Codes, samples: npt.NDArray[np.int16], report: StepReport) -> None:
        """Report a frame of each of ``slots``, and the streams that end with it or are due for a snapshot."""
        columns, places = self.scheduler.columns, self.scheduler.places(slots)
        streams, indices = self.scheduler.streams(slots), columns.next_frame(places)
        report.frames = Frames(streams, columns.id[places].copy(), indices, codes[:, 0], samples)
        if self._slots.snapshots is not None:
            self._slots.snapshots.append(slots, codes)
        due = columns.snapshots[places] & ((indices + 1) % SNAPSHOT_EVERY == 0)
        report.ended = self.scheduler.advance_all(slots)
        self._remember((stream for stream in streams[due] if not stream.ended), report)

    def _begin(self, streams: list[Stream], report: StepReport) -> None:
        """Fill the slots of streams, all at once if that goes well; an error ends its stream alone.

        Raises:
            RuntimeError: the device is lost.
        """
        try:
            finite = self._slots.begin(streams)
        except Exception as error:
            if loss_of_device(error):
                raise
            if len(streams) > 1:
                for stream in streams:
                    self._begin([stream], report)
                return
            traceback.print_exc()
            finite = [False]
        self._fail([stream for stream, good in zip(streams, finite, strict=True) if not good], report)
        self._remember([s for s in streams if not s.ended and s.plan.first_frame == 0], report)

    def _remember(self, streams: Iterable[Stream], report: StepReport) -> None:
        """Report the checkpoints of streams that want them."""
        if self._slots.snapshots is not None:
            report.snapshots += [self._slots.snapshot(stream) for stream in streams if stream.plan.snapshots]

    def _fail(self, streams: Iterable[Stream], report: StepReport) -> None:
        """End streams that cannot go on; a slot is whole again once it is filled anew."""
        for stream in streams:
            self.scheduler.end(stream, "failed")
            report.failed.append(stream)

    def generate(self, stream: Stream) -> Iterator[Generated]:
        """Step until ``stream`` ends, and yield its frames; other streams go on too.

        Raises:
            ModelError: its numbers are no longer finite.
        """
        while not stream.ended:
            for frame in self.step().frames:
                if frame.stream is stream:
                    yield frame
        if stream.status == "failed":
            raise ModelError(f"The model {self.model.id!r} computes numbers that are not finite.")

    @cached_property
    def _noise(self) -> Prompt:
        """Return a second of encoded noise, to try the engine with."""
        return self.encode_prompt(np.random.default_rng(0).normal(0, 0.05, SAMPLE_RATE).astype(np.float32))

    def warm_up(self) -> None:
        """Generate a few frames from a second of noise, so that the first listener does not wait."""
        for _ in self.generate(self.stream(self._noise, _TRIED, frames=8)):
            pass

    def step_cost(self, report: Callable[[StepReport], None] = lambda report: None) -> StepCost:
        """Measure the time of a step for more and more streams, up to the slots or real time, on an idle engine.

        Steps begin a frame apart, as they do while streams play: back to back they take half as long.

        Args:
            report: takes what each step made; its time counts too.
        """
        slots = self.scheduler.slots
        streams: list[Stream] = []
        cost = StepCost([], [])
        for count in sorted({*(1 << power for power in range(0, slots.bit_length(), 2)), slots}):
            streams += [self.stream(self._noise, _TRIED, None) for _ in range(count - len(streams))]
            self.step()  # fills the slots
            taken: list[float] = []
            for _ in range(COST_STEPS):
                time.sleep(max(0.0, 1 / FRAME_RATE - taken[-1]) if taken else 0.0)
                began = time.perf_counter()
                report(self.step())
                taken.append(time.perf_counter() - began)
            cost.streams.append(count)
            cost.seconds.append(max([median(taken), *cost.seconds]))
            if cost.seconds[-1] > MOST_LOAD / FRAME_RATE:
                break
        for stream in streams:
            self.cancel(stream)
        return cost
