"""Pieces of what a connection brings: no byte is lost, and none reaches into another request."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from whispergpt.server.edge.connection.unparsed import UnparsedBytes

LINES = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b"\r\n\r\n", b"long line"]), max_size=40).map(b"".join)


@given(LINES, st.lists(st.integers(0, 9), max_size=20), st.integers(1, 12))
def test_a_piece_ends_with_the_first_empty_line(data: bytes, cuts: list[int], most: int) -> None:
    unparsed, pieces, at = UnparsedBytes(), [b""], 0
    for size in [*cuts, len(data)]:
        unparsed.add(data[at : at + size])
        at += size
        while unparsed:
            piece = unparsed.until_blank_line(most)
            assert 0 < len(piece) <= most
            if pieces[-1].endswith(b"\r\n\r\n"):
                pieces.append(b"")
            pieces[-1] += piece
            assert pieces[-1].find(b"\r\n\r\n") in (-1, len(pieces[-1]) - 4)
    assert b"".join(pieces) == data


def test_a_body_of_known_size_is_taken_by_its_size() -> None:
    unparsed = UnparsedBytes()
    unparsed.add(b"a\r\n\r\nb\r\n\r\n")
    assert (unparsed.counted(4), unparsed.until_blank_line(99), len(unparsed)) == (b"a\r\n\r", b"\nb\r\n\r\n", 0)
