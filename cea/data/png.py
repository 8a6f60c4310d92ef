"""A fast PNG encoder for photographs.

In photographs, and above all in noisy ones, most of what DEFLATE does is to look for repetitions that are not there,
and to write one code after the other. This one predicts each byte as the mean of its left and upper neighbours (PNG
filter 3) and codes the errors by Huffman codes alone (RFC 1951): four neighbouring codes become one number, and vector
arithmetic packs these into 64-bit words. The bytes follow from the pixels, on every machine and whatever the codecs
were built from; only flat drawings and maps still go through zlib.
"""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
from numpy.typing import NDArray

from cea.types import ImageU8

_LONGEST = 13
"""Bits of the longest code: two codes and the sum of their lengths fit into 32 bits."""

_BLOCK = 600_000
"""Bytes that share one set of codes."""

_CHUNK = 1 << 14
"""Numbers packed at once: all that is made of them stays in the second-level cache."""

_FLAT = 3.5
"""Bits per byte below which there are repetitions to be found: drawings, maps, skies without noise."""

_END = 256
"""The symbol that ends a block."""

_Bits = NDArray[np.uint64]


def encode(image: ImageU8) -> bytes:
    """The PNG of ``image`` ((H, W, 3) RGB or (H, W) grey, uint8)."""
    height, width = image.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if image.ndim == 2 else 2, 0, 0, 0)
    rows = _filtered(image.reshape(height, -1), image.size // (height * width))
    chunks = ((b"IHDR", header), (b"IDAT", _deflated(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def is_intact(data: bytes) -> bool:
    """Whether ``data`` is a PNG to its last byte, and each of its chunks has the check sum that it states."""
    place, kind = 8, b""
    while kind != b"IEND":
        if len(data) < place + 12:
            return False
        size, kind = int.from_bytes(data[place : place + 4]), data[place + 4 : place + 8]
        end = place + 8 + size
        if data[end : end + 4] != struct.pack(">I", zlib.crc32(data[place + 4 : end])):
            return False
        place = end + 4
    return data[:8] == b"\x89PNG\r\n\x1a\n" and place == len(data)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))


def _filtered(rows: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """Each row less the mean of left and upper neighbours, with its filter's number in front; flat."""
    left, above = np.zeros_like(rows), np.zeros_like(rows)
    left[:, channels:], above[1:] = rows[:, :-channels], rows[:-1]
    filtered = np.full((rows.shape[0], rows.shape[1] + 1), 3, np.uint8)
    np.subtract(rows, (left & above) + ((left ^ above) >> 1), out=filtered[:, 1:])
    return filtered.reshape(-1)


def _deflated(data: NDArray[np.uint8]) -> bytes:
    """A zlib stream (RFC 1950) of ``data``: blocks of literals, or zlib's run lengths where there are runs."""
    blocks = [data[cut : cut + _BLOCK] for cut in range(0, len(data), _BLOCK)]
    counts = [_histogram(block) for block in blocks]
    sizes = [code_lengths(count) for count in counts]
    if sum(int(count @ size) for count, size in zip(counts, sizes, strict=True)) < _FLAT * len(data):
        flat = zlib.compressobj(1, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
        return flat.compress(data.data) + flat.flush()
    parts = [piece for k, block in enumerate(blocks) for piece in _block(block, sizes[k], last=k + 1 == len(blocks))]
    values, lengths = (np.concatenate(column) for column in zip(*parts, strict=True))
    return b"\x78\x01" + _packed(values, lengths) + struct.pack(">I", zlib.adler32(data.data))


def _block(data: NDArray[np.uint8], sizes: NDArray[np.int64], last: bool) -> list[tuple[_Bits, _Bits]]:
    """One block as numbers and how many bits each of them has: its head, its bytes by fours, the rest and the end."""
    codes = _reversed_codes(sizes)
    pairs = codes[:256] | codes[:256, None] << sizes[:256] | (sizes[:256] + sizes[:256, None]) << 2 * _LONGEST
    pieces = np.take(pairs.astype("<u4").reshape(-1), data[: len(data) // 4 * 4].view("<u2")).view("<u8")
    ends = [*data[len(data) // 4 * 4 :].tolist(), _END]
    return [_head(sizes, last), _fours(pieces), _numbers([(int(codes[s]), int(sizes[s])) for s in ends])]


def _fours(pairs: _Bits) -> tuple[_Bits, _Bits]:
    """Two pairs of codes in each 64 bits, with their lengths above them, to one number of up to 52 bits."""
    low, count = np.uint64((1 << 2 * _LONGEST) - 1), np.uint64(2 * _LONGEST)
    first = (pairs >> count) & np.uint64(31)
    values = (pairs >> np.uint64(32)) & low
    values <<= first
    values |= pairs & low
    first += pairs >> np.uint64(32 + 2 * _LONGEST)
    return values, first


def _head(sizes: NDArray[np.int64], last: bool) -> tuple[_Bits, _Bits]:
    """3 bits of block type, the sizes of the three code tables, and the lengths of all codes in 4 bits each."""
    plain = [(int(last) | 2 << 1, 3), (0, 5), (0, 5), (15, 4)]
    plain += [(0, 3)] * 3 + [(4, 3)] * 16  # no symbols for runs of lengths
    lengths = [*sizes.tolist(), 0]  # one distance code of no bits: nothing is repeated
    return _numbers(plain + [(int(f"{length:04b}"[::-1], 2), 4) for length in lengths])


def _numbers(bits: list[tuple[int, int]]) -> tuple[_Bits, _Bits]:
    return np.array([value for value, _ in bits], np.uint64), np.array([size for _, size in bits], np.uint64)


def _packed(values: _Bits, lengths: _Bits) -> bytes:
    """Numbers of 1 to 63 bits in a row, the lowest bits first."""
    ends = np.cumsum(lengths)
    words = np.zeros(int(ends[-1]) // 64 + 2, np.uint64)
    for begin in range(0, len(values), _CHUNK):
        chunk = slice(begin, begin + _CHUNK)
        _pack(words, values[chunk], ends[chunk] - lengths[chunk])
    return words.astype("<u8").tobytes()[: -(-int(ends[-1]) // 8)]


def _pack(words: _Bits, values: _Bits, offsets: _Bits) -> None:
    """Put each number at its offset in bits. In every word at least one begins, and the last one may reach over."""
    word, shift = offsets >> np.uint64(6), offsets & np.uint64(63)
    over = (values >> np.uint64(1)) >> (np.uint64(63) - shift)
    first = np.append(0, np.flatnonzero(word[1:] != word[:-1]) + 1)
    here = slice(int(word[0]), int(word[0]) + len(first))
    words[here] |= np.bitwise_or.reduceat(values << shift, first)
    words[here.start + 1 : here.stop + 1] |= over[np.append(first[1:], len(over)) - 1]


def _histogram(data: NDArray[np.uint8]) -> NDArray[np.int64]:
    """How often each byte occurs, and once the end."""
    # Six times as fast as np.bincount; whole numbers below 2^24, which float32 holds.
    counts = cv2.calcHist([data], [0], None, [256], [0, 256])
    return np.append(counts.reshape(-1), 1).astype(np.int64)


def code_lengths(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Lengths of Huffman codes for symbols that occur ``counts`` times, 0 for those that do not; at most 13 bits.

    Rare symbols are counted as less rare until no code is longer.
    """
    rarest = max(1, int(counts.sum()) >> _LONGEST - 1)
    while True:
        lengths = _huffman(np.where(counts > 0, np.maximum(counts, rarest), 0))
        if lengths.max() <= _LONGEST:
            return lengths
        rarest *= 2


def _huffman(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """By two queues (van Leeuwen 1976): sorted symbols, and pairs in the order in which they were made."""
    order = sorted(np.flatnonzero(counts).tolist(), key=lambda symbol: (counts[symbol], symbol))
    weights = [int(counts[symbol]) for symbol in order]
    parent, leaf, pair = [0] * (2 * len(order) - 1), 0, len(order)
    for made in range(len(order), 2 * len(order) - 1):
        weights.append(0)
        for _ in range(2):
            takes_leaf = leaf < len(order) and (pair >= made or weights[leaf] <= weights[pair])
            child = leaf if takes_leaf else pair
            leaf, pair = leaf + takes_leaf, pair + (not takes_leaf)
            weights[made] += weights[child]
            parent[child] = made
    depth = [0] * len(parent)
    for node in range(len(parent) - 2, -1, -1):
        depth[node] = depth[parent[node]] + 1
    lengths = np.zeros(len(counts), np.int64)
    lengths[order] = depth[: len(order)]
    return lengths


def _reversed_codes(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Canonical codes (RFC 1951, 3.2.2) with their bits reversed, as DEFLATE packs them."""
    codes, code = np.zeros(len(lengths), np.int64), 0
    for size in range(1, _LONGEST + 1):
        for symbol in np.flatnonzero(lengths == size).tolist():
            codes[symbol] = int(f"{code:0{size}b}"[::-1], 2)
            code += 1
        code <<= 1
    return codes
