"""The streaming codec against the offline one: any chunking, any mix of slots, primed or from silence."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from whispergpt.engine.config import ENCODEC_24KHZ, HOP, SMALL_CODEC, CodecConfig
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.streaming import State, clone, copy_into, reset, rows

TOLERANCE = 1e-5
CPU = torch.device("cpu")
# Narrow enough to be quick; every layer of the real one is there.
NARROW = CodecConfig(n_filters=4, dimension=32)
CONSTANT, REFLECT = replace(NARROW, pad_mode="constant"), NARROW


def make(config: CodecConfig) -> Codec:
    """A codec with random weights, loud enough that 1e-5 means something."""
    torch.manual_seed(3)
    codec = Codec(config).eval()
    with torch.no_grad():
        for parameter in codec.parameters():
            if parameter.dim() == 3:  # Convolutions: the default initialisation halves the signal at every layer.
                parameter.mul_(1.6)
    audio = codec.decode(torch.randint(0, 1024, (1, config.n_codebooks, 20)))
    assert 0.05 < audio.std() < 5
    return codec


@pytest.fixture(scope="module")
def constant() -> Codec:
    return make(CONSTANT)


@pytest.fixture(scope="module")
def reflect() -> Codec:
    return make(REFLECT)


def some_codes(codec: Codec, batch: int, frames: int) -> Tensor:
    return torch.randint(0, 1024, (batch, codec.config.n_codebooks, frames))


def chunks(total: int, rng: random.Random, first: int = 1, most: int = 6) -> list[int]:
    """Random chunk lengths that add up to ``total``, the first at least ``first``."""
    lengths = [min(total, first + rng.randrange(most))]
    while sum(lengths) < total:
        lengths.append(min(total - sum(lengths), rng.randint(1, most)))
    return lengths


def close(a: Tensor, b: Tensor) -> bool:
    assert a.shape == b.shape
    return float((a - b).abs().max()) < TOLERANCE


def equal(a: State, b: State) -> bool:
    """Whether two trees hold the same bits."""
    for key, left in a.items():
        right = b[key]
        if isinstance(left, dict):
            assert isinstance(right, dict)
            if not equal(left, right):
                return False
        elif not torch.equal(left, right):  # type: ignore[arg-type]
            return False
    return True


@pytest.mark.parametrize("config", [SMALL_CODEC, ENCODEC_24KHZ], ids=["small", "encodec_24khz"])
@torch.inference_mode()
def test_full_size_streams_as_offline(config: CodecConfig) -> None:
    torch.manual_seed(0)
    codec = Codec(config).eval()
    codes, audio = some_codes(codec, 2, 20), torch.randn(2, 1, 20 * HOP)
    heard, latents = codec.decode(codes), codec.encoder(audio)
    decoder, encoder = codec.init_decoder_state(2, CPU), codec.init_encoder_state(2, CPU)
    at = 0
    for count in (config.frames_to_prime, 1, 1, 2, 20 - 4 - config.frames_to_prime):
        piece = slice(at, at + count)
        assert close(
            codec.decode_step(codes[..., piece], decoder, None, at == 0), heard[..., at * HOP : (at + count) * HOP]
        )
        samples = audio[..., at * HOP : (at + count) * HOP]
        assert close(codec.encoder.step(samples, encoder, None, at == 0), latents[..., piece])
        at += count


@pytest.mark.parametrize("seed", range(6))
@torch.inference_mode()
def test_decoder_in_any_chunking_from_silence(constant: Codec, seed: int) -> None:
    torch.manual_seed(seed)
    codes = some_codes(constant, 3, 30)
    state, out, at = constant.init_decoder_state(3, CPU), [], 0
    for count in chunks(30, random.Random(seed)):
        out.append(constant.decode_step(codes[..., at : at + count], state))
        at += count
    assert close(torch.cat(out, -1), constant.decode(codes))


@pytest.mark.parametrize("seed", range(6))
@torch.inference_mode()
def test_encoder_in_any_chunking_from_silence(constant: Codec, seed: int) -> None:
    torch.manual_seed(seed)
    audio = torch.randn(3, 1, 30 * HOP)
    state, out, at = constant.init_encoder_state(3, CPU), [], 0
    for count in chunks(30, random.Random(seed)):
        out.append(constant.encoder.step(audio[..., at * HOP : (at + count) * HOP], state))
        at += count
    assert close(torch.cat(out, -1), constant.encoder(audio))


@torch.inference_mode()
def test_encode_step_gives_the_codes_of_encode(constant: Codec) -> None:
    torch.manual_seed(0)
    audio = torch.randn(2, 1, 24 * HOP)
    # Codebooks as spread as the latents, so that more than one entry is used.
    scale = constant.encoder(audio).std()
    codec = make(CONSTANT)
    for codebook in codec.quantizer.codebooks:
        codebook.embed.mul_(scale)
    state = codec.init_encoder_state(2, CPU)
    out = [codec.encode_step(audio[..., at : at + 3 * HOP], state) for at in range(0, 24 * HOP, 3 * HOP)]
    codes = torch.cat(out, -1)
    assert codes[:, 0].unique().numel() > 5
    # A near tie may fall either way; no more than one such among 48 frames.
    assert (codes != codec.encode(audio)).any(1).sum() <= 1


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("part", ["decoder", "encoder"])
@torch.inference_mode()
def test_any_mix_of_slots_starting_and_stopping(constant: Codec, part: str, seed: int) -> None:
    """Slots play streams of random length, pause at random, and are reset and given to others midway."""
    slots, rng = 5, random.Random(seed)
    torch.manual_seed(seed)
    decoding = part == "decoder"
    state = (constant.init_decoder_state if decoding else constant.init_encoder_state)(slots, CPU)
    unit = 1 if decoding else HOP

    def stream() -> Tensor:
        frames = rng.randint(3, 25)
        return some_codes(constant, 1, frames) if decoding else torch.randn(1, 1, frames * HOP)

    inputs, heard, finished = [stream() for _ in range(slots)], [[] for _ in range(slots)], 0  # type: ignore[var-annotated]
    places = [0] * slots
    for _ in range(40):
        count = rng.randint(1, 4)
        active = torch.tensor(
            [rng.random() < 0.7 and inputs[s].shape[-1] - places[s] >= count * unit for s in range(slots)]
        )
        # What stands in the rows of idle slots must not matter: noise for codes, NaN for audio.
        x = some_codes(constant, slots, count) if decoding else torch.full((slots, 1, count * HOP), float("nan"))
        for s in range(slots):
            if active[s]:
                x[s] = inputs[s][0, :, places[s] : places[s] + count * unit]
        before = clone(state)
        y = constant.decode_step(x, state, active) if decoding else constant.encoder.step(x, state, active)
        for s in range(slots):
            if not active[s]:
                assert equal(rows(state, s, s + 1), rows(before, s, s + 1))
                continue
            heard[s].append(y[s : s + 1])
            places[s] += count * unit
        ending = torch.tensor([places[s] > 0 and rng.random() < 0.15 for s in range(slots)])
        for s in range(slots):
            if ending[s]:
                done = inputs[s][..., : places[s]]
                expected = constant.decode(done) if decoding else constant.encoder(done)
                assert close(torch.cat(heard[s], -1), expected)
                inputs[s], heard[s], places[s], finished = stream(), [], 0, finished + 1
        reset(state, ending)
    assert finished > 8


@pytest.mark.parametrize("seed", range(4))
@torch.inference_mode()
def test_reflection_primed_with_one_chunk(reflect: Codec, seed: int) -> None:
    rng = random.Random(seed)
    torch.manual_seed(seed)
    codes, audio = some_codes(reflect, 2, 30), torch.randn(2, 1, 30 * HOP)
    heard, latents = reflect.decode(codes), reflect.encoder(audio)
    decoder, encoder = reflect.init_decoder_state(2, CPU), reflect.init_encoder_state(2, CPU)
    at = 0
    for count in chunks(30, rng, first=reflect.config.frames_to_prime, most=3):
        now = slice(at * HOP, (at + count) * HOP)
        assert close(reflect.decode_step(codes[..., at : at + count], decoder, None, at == 0), heard[..., now])
        step = reflect.encoder.step(audio[..., now], encoder, None, at == 0)
        assert close(step, latents[..., at : at + count])
        at += count


@torch.inference_mode()
def test_reflection_forgets_the_state_that_was_there(reflect: Codec) -> None:
    """A cold chunk starts anew except for the LSTM and the overlaps, which ``reset`` must clear."""
    torch.manual_seed(0)
    codes = some_codes(reflect, 1, 12)
    state = reflect.init_decoder_state(1, CPU)
    reflect.decode_step(some_codes(reflect, 1, 9), state, None, True)
    reset(state, torch.tensor([True]))
    assert close(reflect.decode_step(codes, state, None, True), reflect.decode(codes))


@pytest.mark.parametrize("pad_mode", ["reflect", "constant"])
@torch.inference_mode()
def test_primed_in_one_row_and_copied_into_a_slot(reflect: Codec, constant: Codec, pad_mode: str) -> None:
    """How a stream starts: its prompt primes a state of one row, which joins a batch that is already playing."""
    codec = reflect if pad_mode == "reflect" else constant
    torch.manual_seed(5)
    slots, prompts = 4, {0: 7, 2: 13, 3: 40}
    batch = codec.init_decoder_state(slots, CPU)
    codes = {slot: some_codes(codec, 1, length + 12) for slot, length in prompts.items()}
    offline = {slot: codec.decode(all_codes) for slot, all_codes in codes.items()}
    joins = {0: 0, 2: 3, 3: 5}
    for frame in range(12):
        for slot, join in joins.items():
            if join == frame:
                single = codec.init_decoder_state(1, CPU)
                primed = codec.decode_step(codes[slot][..., : prompts[slot]], single, None, True)
                assert close(primed, offline[slot][..., : prompts[slot] * HOP])
                untouched = clone(rows(batch, 1, 2))
                copy_into(rows(batch, slot, slot + 1), single)
                assert equal(rows(batch, 1, 2), untouched)
        active = torch.tensor([slot in joins and joins[slot] <= frame for slot in range(slots)])
        x = some_codes(codec, slots, 1)
        for slot, join in joins.items():
            if join <= frame:
                x[slot] = codes[slot][0, :, prompts[slot] + frame - join, None]
        y = codec.decode_step(x, batch, active)
        for slot, join in joins.items():
            if join <= frame:
                at = (prompts[slot] + frame - join) * HOP
                assert close(y[slot : slot + 1], offline[slot][..., at : at + HOP]), (slot, frame)


@torch.inference_mode()
def test_too_short_a_start_is_refused_with_reflection_only(reflect: Codec, constant: Codec) -> None:
    assert (reflect.config.frames_to_prime, constant.config.frames_to_prime) == (7, 1)
    for frames in range(1, 7):
        codes, audio = some_codes(reflect, 1, frames), torch.randn(1, 1, frames * HOP)
        with pytest.raises(ValueError, match="at least seven frames"):
            reflect.decode_step(codes, reflect.init_decoder_state(1, CPU), None, True)
        with pytest.raises(ValueError, match="at least seven frames"):
            reflect.encode_step(audio, reflect.init_encoder_state(1, CPU), None, True)
        constant.decode_step(codes, constant.init_decoder_state(1, CPU), None, True)
        constant.encode_step(audio, constant.init_encoder_state(1, CPU), None, True)
    reflect.decode_step(some_codes(reflect, 1, 7), reflect.init_decoder_state(1, CPU), None, True)
    reflect.encode_step(torch.randn(1, 1, 7 * HOP), reflect.init_encoder_state(1, CPU), None, True)


@torch.inference_mode()
def test_parts_of_frames_are_refused(constant: Codec) -> None:
    with pytest.raises(ValueError, match="321 samples are not whole frames of 320"):
        constant.encode_step(torch.zeros(1, 1, 321), constant.init_encoder_state(1, CPU))


@torch.inference_mode()
def test_nothing_ahead_is_heard(constant: Codec) -> None:
    """Causal: changing later input changes no earlier output, by a single bit."""
    torch.manual_seed(0)
    codes = some_codes(constant, 1, 20)
    changed = codes.clone()
    changed[..., 12:] = some_codes(constant, 1, 8)
    a, b = constant.decode(codes), constant.decode(changed)
    assert torch.equal(a[..., : 12 * HOP], b[..., : 12 * HOP])
    assert not torch.equal(a[..., 12 * HOP : 13 * HOP], b[..., 12 * HOP : 13 * HOP])
