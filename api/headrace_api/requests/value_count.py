"""Count the values of a JSON text before it is decoded: each takes up to a hundred bytes of memory."""

from __future__ import annotations

MAX_NODES = 200_000
PIECE = 1 << 16
OPENING = (b",", b"[", b"{")


def too_many_nodes(raw: bytes, most: int = MAX_NODES) -> bool:
    """Return True if a JSON text has more than `most` values. Contents of strings do not count. At most one pass; a body
    with fewer bytes, or fewer commas and brackets in all, needs none."""
    if len(raw) <= most or sum(map(raw.count, OPENING)) < most:
        return False
    found, quotes, in_string, at = 1, 0, False, 0
    while at < len(raw):
        piece = raw[at : at + PIECE]
        at += len(piece)
        while trailing(piece) % 2 and at < len(raw):  # what it escapes belongs to it
            piece += raw[at : at + 1]
            at += 1
        parts = piece.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')
        outside = b"".join(parts[in_string::2])
        in_string ^= len(parts) % 2 == 0
        quotes += len(parts) - 1
        found += sum(map(outside.count, OPENING))
        if found > most or quotes > 4 * most + 2:
            return True
    return False


def trailing(piece: bytes) -> int:
    """Return the number of backslashes at its end."""
    return len(piece) - len(piece.rstrip(b"\\"))
