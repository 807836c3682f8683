"""The same prompt, seed and parameters give the same samples, on every route and in any company."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from whispergpt_client import AsyncClient, Client

from tests.support.audio import SPEECH, encode, pcm_of, samples_of, samples_of_pcm, speech, wav_of_pcm
from tests.support.http import HTTP
from tests.support.live_socket import LiveSocket
from whispergpt.cli.main import main

SEED = 20_241_210
SHORT = encode(speech(1.0, 16_000), 16_000, "FLAC")


def stream_whole(client: Client, prompt: bytes | Path, seconds: float, sample_rate: int | None = None) -> bytes:
    return b"".join(client.stream(prompt, seconds=seconds, pace="fast", sample_rate=sample_rate, seed=SEED))


def test_a_seed_repeats_on_both_routes(client: Client) -> None:
    first = client.continue_file(SPEECH, seconds=1, seed=SEED)
    second = client.continue_file(SPEECH, seconds=1, seed=SEED)
    streamed = stream_whole(client, SPEECH, seconds=1)
    assert first.audio == second.audio
    assert first.fingerprint == second.fingerprint
    assert first.seed == second.seed == SEED
    assert samples_of(first.audio).tobytes() == streamed
    assert len(set(samples_of(first.audio).tolist())) > 1, "the continuation is a constant"


def test_another_seed_gives_something_else(client: Client) -> None:
    one, two = (client.continue_file(SHORT, seconds=0.5, seed=seed).audio for seed in (1, 2))
    assert one != two


def test_pcm_at_the_models_rate_equals_the_wav_of_it(client: Client) -> None:
    pcm = pcm_of(speech(1.0))
    posted = client.continue_file(wav_of_pcm(pcm), seconds=0.5, seed=SEED)
    assert samples_of(posted.audio).tobytes() == stream_whole(client, pcm, seconds=0.5, sample_rate=24_000)


def test_pcm_that_arrives_in_pieces_equals_pcm_at_once(client: Client) -> None:
    pcm = pcm_of(speech(1.0, rate=16_000))
    pieces = [pcm[start : start + 1234] for start in range(0, len(pcm), 1234)]
    in_pieces = b"".join(client.stream(pieces, seconds=0.5, pace="fast", sample_rate=16_000, seed=SEED))
    assert in_pieces == stream_whole(client, pcm, seconds=0.5, sample_rate=16_000)


def test_realtime_equals_fast(client: Client) -> None:
    realtime = b"".join(client.stream(SHORT, seconds=1, pace="realtime", seed=SEED))
    assert realtime == stream_whole(client, SHORT, seconds=1)


def test_a_streamed_body_equals_a_whole_one(server: str, client: Client) -> None:
    whole = client.continue_file(SHORT, seconds=0.5, seed=SEED, response_format="pcm").audio
    fields = {"seconds": "0.5", "seed": str(SEED), "stream": "true"}
    bodies = {}
    for name in ("pcm", "wav", "flac"):
        answer = HTTP.post(f"{server}/continue", data={**fields, "response_format": name}, files={"audio": SHORT})
        assert answer.status_code == 200, answer.text
        bodies[name] = answer.content
    assert bodies["pcm"] == whole
    assert bodies["wav"][:4] == b"RIFF"
    assert bodies["wav"][4:8] == bodies["wav"][40:44] == b"\xff\xff\xff\xff"
    assert bodies["wav"][44:] == whole
    assert samples_of(bodies["flac"]).tobytes() == whole


def test_eight_streams_at_once_give_what_each_gives_alone(server: str) -> None:
    seeds = range(1, 9)
    # Different lengths, so that streams also leave while others play.
    seconds = {seed: 0.5 + 0.1 * (seed % 4) for seed in seeds}

    async def play(client: AsyncClient, seed: int) -> bytes:
        stream = client.stream(SHORT, seconds=seconds[seed], pace="fast", seed=seed)
        return b"".join([pcm async for pcm in stream])

    async def play_all() -> tuple[list[bytes], list[bytes]]:
        async with AsyncClient(server) as client:
            alone = [await play(client, seed) for seed in seeds]
            together = await asyncio.gather(*(play(client, seed) for seed in seeds))
        return alone, together

    alone, together = asyncio.run(play_all())
    assert len(set(alone)) == len(alone)
    for seed, one, other in zip(seeds, alone, together, strict=True):
        assert one == other, f"seed {seed} gives other samples in company"


def test_the_prompt_can_be_continued_anew(server: str) -> None:
    with LiveSocket(server) as socket:
        socket.update(seed=SEED, pace="fast")
        socket.commit(SHORT)
        answers = []
        for _ in range(2):
            socket.create(0.5)
            answers.append(socket.read_response())
        socket.update(seed=SEED + 1)
        socket.create(0.5)
        other, _ = socket.read_response()
    (first, described), (second, _) = answers
    assert described["status"] == "completed"
    assert described["frames"] == 38
    assert described["seed"] == SEED
    assert first == second
    assert first != other


def test_a_seed_left_out_is_random_and_reproduces(client: Client) -> None:
    one = client.continue_file(SHORT, seconds=0.5)
    two = client.continue_file(SHORT, seconds=0.5)
    assert one.seed != two.seed
    assert 0 <= one.seed < 2**53
    assert client.continue_file(SHORT, seconds=0.5, seed=one.seed).audio == one.audio
    stream = client.stream(SHORT, seconds=0.5, pace="fast")
    audio = b"".join(stream)
    assert stream.response is not None
    repeated = client.continue_file(SHORT, seconds=0.5, seed=stream.response["seed"], response_format="pcm")
    assert repeated.audio == audio


def test_temperature_zero_does_not_depend_on_the_seed(client: Client) -> None:
    one, two = (client.continue_file(SHORT, seconds=0.5, seed=seed, temperature=0).audio for seed in (1, 2))
    assert samples_of(one).tobytes() == samples_of(two).tobytes()


def test_defaults_are_those_that_models_names(client: Client) -> None:
    defaults = client.models()[0].defaults
    spelled = client.continue_file(
        SHORT,
        seconds=0.5,
        seed=SEED,
        temperature=defaults["temperature"],
        top_k=int(defaults["top_k"]),
        top_p=defaults["top_p"],
        model=client.models()[0].id,
    )
    assert spelled.audio == client.continue_file(SHORT, seconds=0.5, seed=SEED).audio


def test_the_command_line_gives_the_servers_samples(
    client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    served = client.continue_file(SPEECH, seconds=1, seed=SEED)
    target = tmp_path / "continuation.wav"
    with pytest.raises(SystemExit) as ended:
        main(["continue", str(SPEECH), "-o", str(target), "--json", "--seconds", "1", "--seed", str(SEED)])
    assert not ended.value.code
    assert json.loads(capsys.readouterr().out)["seed"] == SEED
    assert samples_of(target.read_bytes()).tobytes() == samples_of(served.audio).tobytes()
    assert samples_of_pcm(stream_whole(client, SPEECH, seconds=1)).tolist() == samples_of(served.audio).tolist()
