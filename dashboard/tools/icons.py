"""Draw the page's PNG icons: the gauge, three quarters full, on ink. Standard library only.

    python dashboard/tools/icons.py
"""
from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "icons"
GROUND, TRACK, ARC = (0x16, 0x18, 0x1D), (0x3D, 0x42, 0x4B), (0xF4, 0xF2, 0xEE)
FINE = 4  # samples per pixel and direction: smooth edges
#        name                 size  corner  ring (radius, width)   as shares of the size
ICONS = {"icon-192.png": (192, 0.22, 0.266, 0.11), "icon-512.png": (512, 0.22, 0.266, 0.11),
         "maskable-512.png": (512, 0.0, 0.21, 0.087), "apple-touch-icon.png": (180, 0.0, 0.25, 0.104)}


def colour(x: float, y: float, corner: float, radius: float, width: float) -> tuple[int, int, int, int]:
    """The colour at a point of the unit square."""
    dx, dy = max(corner - x, x - 1 + corner, 0), max(corner - y, y - 1 + corner, 0)
    if corner and math.hypot(dx, dy) > corner:
        return 0, 0, 0, 0
    if abs(math.hypot(x - 0.5, y - 0.5) - radius) > width / 2:
        return *GROUND, 255
    turn = math.atan2(x - 0.5, 0.5 - y) / math.tau % 1
    return *(ARC if turn < 0.75 else TRACK), 255


def pixel(column: int, row: int, size: int, shape: tuple[float, float, float]) -> bytes:
    points = [colour((column + (i + 0.5) / FINE) / size, (row + (j + 0.5) / FINE) / size, *shape) for i in range(FINE) for j in range(FINE)]
    alpha = sum(p[3] for p in points)
    rgb = [round(sum(p[c] * p[3] for p in points) / alpha) if alpha else 0 for c in range(3)]
    return bytes([*rgb, round(alpha / len(points))])


def png(size: int, shape: tuple[float, float, float]) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + b"".join(pixel(column, row, size, shape) for column in range(size)) for row in range(size))
    head = struct.pack(">IIBBBBB", size, size, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def main() -> None:
    for name, (size, *shape) in ICONS.items():
        (FOLDER / name).write_bytes(png(size, (shape[0], shape[1], shape[2])))


if __name__ == "__main__":
    main()
