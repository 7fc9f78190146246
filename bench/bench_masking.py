"""Masking log text: 2,000 secrets, ours beside the alternation of regular expressions Airflow uses."""

from __future__ import annotations

import base64
import gc
import json
import random
import re
import string
import time
import urllib.parse
from pathlib import Path

from strongroom.model.masking import MASK, BytesMaskingStream, Masker

TITLE = "Masking (2,000 secrets, 8 encodings and more)"
ROUNDS = 5
SECRETS = 2_000
LINES = 40_000  # about 4 MB
PEER_LINES = 40  # 4 KB: the peer takes most of a second for this
CHUNK = 4096
PAGE = 4096


def measure() -> list[dict[str, object]]:
    secrets = _secrets()
    eight = sorted({form for secret in secrets for form in _eight_encodings(secret)})
    lines = _log(eight)
    before = _resident_mb()
    started = time.perf_counter()
    masker = Masker(secrets)
    build = (time.perf_counter() - started) * 1e3
    memory = _resident_mb() - before
    before = _resident_mb()
    started = time.perf_counter()
    peer = re.compile("|".join(map(re.escape, eight)))
    peer_build = (time.perf_counter() - started) * 1e3
    peer_memory = _resident_mb() - before
    missed = _missed(masker, eight)
    speeds = _speeds(masker, peer, lines)
    what = f"{masker.patterns:,} patterns against the peer's {len(eight):,}; {missed} of the latter missed"
    return [
        _speed_row("4 KiB chunks", speeds, "chunks", "≥ 50 MB/s", what),
        _speed_row("line by line", speeds, "lines", "≥ 50 MB/s", ""),
        _speed_row("stream, 4 KiB writes", speeds, "stream", "", "catches what is split over two writes"),
        _speed_row("stream, line by line", speeds, "stream lines", "", ""),
        _row("build", build, peer_build, "ms", "≤ 300 ms", ""),
        _row("memory", memory, peer_memory, "MB", "≤ 32 MB", "resident, after building"),
    ]


def _row(path: str, ours: float, peer: float, unit: str, target: str, note: str) -> dict[str, object]:
    ratio = ours / peer if peer > 0 else None
    figures = {"ours": ours, "peer": peer, "unit": unit, "ratio": ratio}
    return {"path": path, **figures, "target": target, "note": note}


def _speed_row(path: str, speeds: dict[str, float], name: str, target: str, note: str) -> dict[str, object]:
    peer = "peer chunks" if name in ("chunks", "stream") else "peer lines"
    return _row(path, speeds[name], speeds[peer], "MB/s", target, note)


def _speeds(masker: Masker, peer: re.Pattern[str], lines: list[str]) -> dict[str, float]:
    """Give the best of several rounds, every way measured in each round."""
    text = "".join(lines)
    chunks = _chunks(text)
    raw_chunks, raw_lines = [chunk.encode() for chunk in chunks], [line.encode() for line in lines]
    few = lines[:PEER_LINES]
    few_chunks = _chunks("".join(few))
    ways = {
        "chunks": (masker.mask, chunks),
        "lines": (masker.mask, lines),
        "stream": (BytesMaskingStream(masker).feed, raw_chunks),
        "stream lines": (BytesMaskingStream(masker).feed, raw_lines),
        "peer chunks": (lambda piece: peer.sub(MASK, piece), few_chunks),
        "peer lines": (lambda piece: peer.sub(MASK, piece), few),
    }
    best: dict[str, float] = {}
    for _ in range(ROUNDS):
        for name, (mask, pieces) in ways.items():
            started = time.perf_counter()
            for piece in pieces:
                mask(piece)
            speed = sum(map(len, pieces)) / 1e6 / (time.perf_counter() - started)
            best[name] = max(speed, best.get(name, 0.0))
    return best


def _missed(masker: Masker, planted: list[str]) -> int:
    return sum(masker.mask(f"<{form}>") != f"<{MASK}>" for form in planted)


def _secrets() -> list[str]:
    source = random.Random(11)
    letters = string.ascii_letters + string.digits + "!@#$%^&*/+=-_ "
    return ["".join(source.choices(letters, k=source.randint(12, 80))).strip() for _ in range(SECRETS)]


def _eight_encodings(secret: str) -> list[str]:
    raw = secret.encode()
    return [
        secret,
        urllib.parse.quote(secret, safe=""),
        urllib.parse.quote_plus(secret),
        raw.hex(),
        json.dumps(secret)[1:-1],
        *(
            base64.b64encode(bytes(shift) + raw)[(8 * shift + 5) // 6 : 8 * (shift + len(raw)) // 6].decode()
            for shift in range(3)
        ),
    ]


def _log(planted: list[str]) -> list[str]:
    """Give log lines of about 105 characters; one in 60 holds a secret in some encoding."""
    source = random.Random(12)
    words = ["".join(source.choices(string.ascii_lowercase, k=source.randint(2, 10))) for _ in range(3_000)]
    lines = []
    for number in range(LINES):
        tail = source.choice(planted) if number % 60 == 0 else " ".join(source.choices(words, k=8))
        lines.append(
            f"[2026-11-21T12:{number // 60 % 60:02}:{number % 60:02}.{source.randrange(10**6):06}+0000] "
            f"{{task_command.py:{source.randrange(999)}}} INFO - {tail}\n"
        )
    return lines


def _chunks(text: str) -> list[str]:
    return [text[start : start + CHUNK] for start in range(0, len(text), CHUNK)]


def _resident_mb() -> float:
    gc.collect()
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE / 1e6
