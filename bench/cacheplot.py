"""The plot of published estimates against what labels say, as SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_SIZE: Final = 420
_EDGE: Final = 50
_COLOURS: Final = {"Banking77": "#1b6ca8", "CLINC150": "#c2571a", "QQP": "#4a8c3f"}


@dataclass(frozen=True, slots=True)
class Point:
    """What was told after so many requests, and the truth: shares of all requests."""

    stream: str
    budget: float
    seed: int
    requests: int
    true: float
    told: float
    low: float
    high: float


def plot(points: Sequence[Point]) -> str:
    """Estimates (dots) with their intervals of 95 % over the true share; on the diagonal they are right."""
    most = 1.05 * max(max(point.true, min(point.high, 0.04)) for point in points)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_SIZE + 2 * _EDGE} {_SIZE + 2 * _EDGE}" '
        'font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<path d="M{_EDGE} {_EDGE + _SIZE}L{_EDGE + _SIZE} {_EDGE}" stroke="#999" stroke-dasharray="4 3"/>',
        f'<path d="M{_EDGE} {_EDGE}V{_EDGE + _SIZE}H{_EDGE + _SIZE}" stroke="black" fill="none"/>',
        *_ticks(most),
        *(mark for point in points for mark in _marks(point, most)),
        *_legend(),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _x(share: float, most: float) -> float:
    return round(_EDGE + _SIZE * share / most, 1)


def _y(share: float, most: float) -> float:
    return round(_EDGE + _SIZE * (1 - min(share, most) / most), 1)


def _ticks(most: float) -> list[str]:
    found = []
    share = 0.0
    while share < most:
        x, y = _x(share, most), _y(share, most)
        found.append(f'<text x="{x}" y="{_EDGE + _SIZE + 15}" text-anchor="middle">{100 * share:g}</text>')
        found.append(f'<text x="{_EDGE - 6}" y="{y + 4}" text-anchor="end">{100 * share:g}</text>')
        share = round(share + 0.005, 4)
    middle = _EDGE + _SIZE / 2
    found.append(
        f'<text x="{middle}" y="{_EDGE + _SIZE + 35}" text-anchor="middle">wrong by labels, % of requests</text>'
    )
    found.append(
        f'<text transform="translate(14 {middle}) rotate(-90)" text-anchor="middle">'
        "wrong as published, % of requests</text>"
    )
    return found


def _marks(point: Point, most: float) -> list[str]:
    x, colour = _x(point.true, most), _COLOURS[point.stream]
    return [
        f'<path d="M{x} {_y(point.low, most)}V{_y(point.high, most)}" stroke="{colour}" stroke-opacity="0.25"/>',
        f'<circle cx="{x}" cy="{_y(point.told, most)}" r="2.2" fill="{colour}"/>',
    ]


def _legend() -> list[str]:
    return [
        f'<text x="{_EDGE + 15}" y="{_EDGE + 15 + 15 * at}" fill="{colour}">{name}</text>'
        for at, (name, colour) in enumerate(_COLOURS.items())
    ]
