"""Summary of a report in lines for people, and its verdict."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Found = dict[str, Any]


def passed(report: Found) -> bool:
    """Return whether nothing failed, and streams, limited ones and prompts have the bits that they should have."""
    parts = report["parts"]
    whole = not any("error" in found or found.get("failed") for found in parts.values())
    parity = parts.get("parity", {})
    same = all(parity.get(name, {}).get("equal_bits", True) for name in ("same_seed", "limited", "prompts_together"))
    tests = parts.get("tests", {})
    return whole and same and not tests.get("failures", 0) and not tests.get("errors", 0)


def summary(report: Found) -> str:
    """Return a line for each figure that was found, and for each part that was not."""
    device, parts = report["device"], report["parts"]
    lines = [f"{device.get('gpu', device['name'])}, torch {device['torch']}, Triton {device.get('triton', 'missing')}"]
    for name, found in parts.items():
        lines += [f"  {line}" for line in _LINES[name](found)]
        if "missing" in found:
            lines.append(f"  {name}: left out, because {found['missing']} is missing")
        lines += [f"  {name}, {trial}: {error}" for trial, error in found.get("failed", {}).items()]
        if "error" in found:
            lines.append(f"  {name}: {found['error']}")
    return "\n".join(lines)


def _parity(found: Found) -> Iterator[str]:
    if prompt := found.get("prompt"):
        yield f"prompt beside the CPU's, float32: {prompt['equal_codes']:.2%} of codes equal"
    if streams := found.get("streams"):
        yield (
            f"streams beside the CPU's, float32: {streams['equal_codes']:.2%} of frames up to another code; "
            f"of these {streams['frames_within_4']:.2%} within 4 of 32,767, at most {streams['largest_difference']}"
        )
    if same := found.get("same_seed"):
        said = "equal bits" if same["equal_bits"] else "OTHER BITS"
        yield f"alone and among {same['streams']} streams, {same['dtype']}: {said}"
    if limited := found.get("limited"):
        said = "equal bits" if limited["equal_bits"] else "OTHER BITS"
        yield f"bandwidth limited beside the host's filters: {said}"
    if prompts := found.get("prompts_together"):
        said = "equal bits" if prompts["equal_bits"] else "OTHER BITS"
        yield f"prompts alone and {prompts['prompts']} at once: {said}"


def _steps(found: Found) -> Iterator[str]:
    if found.get("kernels"):
        yield f"kernels in a step: {found['kernels']}"
    for streams, one in found.get("streams", {}).items():
        stages = ", ".join(f"{stage} {each:.3f}" for stage, each in one["stage_ms"].items())
        shares = ", ".join(
            f"{share:.0%} of the floor ({name})" for name, share in one.get("share_of_floor", {}).items()
        )
        yield f"step of {int(streams):,}: {one['step_ms']['p50']:.3f} ms ({stages}); {shares}"


def _prompts(found: Found) -> Iterator[str]:
    if single := found.get("single"):
        first = single["time_to_first_audio_ms"]
        yield f"first audio in the engine, idle: {first['p50']:.1f} ms, p95 {first['p95']:.1f} ms"
    if "prompts_per_second" in found:
        yield f"prompts of {found['prompt_seconds']:g} s a second: {found['prompts_per_second']:.1f}"
    if "starts_per_second" in found:
        yield f"{found['starts']} starts in a step of {found['starting_step_ms']:.1f} ms"
    if steps := found.get("steps_beside_prompts"):
        alone, beside = (steps[name]["p99"] for name in ("alone_ms", "beside_ms"))
        beyond = f"beside {steps['prompts_per_second']:.0f} prompts a second {beside:.2f} ms"
        yield f"step of {steps['streams']:,}, p99: alone {alone:.2f} ms, {beyond}"


def _streams(found: Found) -> Iterator[str]:
    for preset, one in found.items():
        if isinstance(one, dict) and "estimated_streams" in one:
            said = one.get("realtime_streams", f"about {one['estimated_streams']:.0f}, not played")
            yield f"real-time streams, {preset}: {said}"


def _sockets(found: Found) -> Iterator[str]:
    for name, one in found.items():
        if isinstance(one, dict) and (first := one.get("time_to_first_audio_ms")):
            yield f"first audio over sockets, {name}: {first['p50']:.1f} ms, p95 {first['p95']:.1f} ms"
    if listeners := found.get("listeners"):
        said = "no gap" if listeners["first_gap_after_seconds"] is None else "then the first gap"
        yield f"listeners over sockets: {listeners['at_first_gap']} at once, {said}"


def _tests(found: Found) -> Iterator[str]:
    if "tests" in found:
        good = found["tests"] - found["failures"] - found["errors"] - found["skipped"]
        yield f"GPU tests: {good} passed, {found['failures'] + found['errors']} failed, {found['skipped']} skipped"


def _peers(found: Found) -> Iterator[str]:
    for name, one in found.items():
        if isinstance(one, list):
            best = max(each.get("estimated_streams", 0.0) for each in one)
            yield f"{name}: about {best:.0f} streams, uncompiled"
        elif isinstance(one, dict) and "missing" in one:
            yield f"{name}: left out, because {one['missing']} is missing"


_LINES = {
    "parity": _parity,
    "steps": _steps,
    "prompts": _prompts,
    "streams": _streams,
    "sockets": _sockets,
    "tests": _tests,
    "peers": _peers,
}
