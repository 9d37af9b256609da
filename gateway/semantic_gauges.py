"""Semantic gauges: what the semantic cache publishes about itself, read from its rows when Prometheus asks."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from cache.published import FeatureReport
from gateway.exposition import Family, Kind, Unit, value_lines

_MILLION: Final = 1_000_000


def _family(part: str, kind: Kind, text: str, *labels: str, unit: Unit = Unit.ONE) -> Family:
    return Family(name=f"farthing_semantic_{part}", kind=kind, help=text, labels=("feature", *labels), unit=unit)


REQUESTS: Final = _family("requests_total", Kind.COUNTER, "Requests that looked for a paraphrase's answer.")
HITS: Final = _family("hits_total", Kind.COUNTER, "Requests that got one, by the rule that served it.", "rule")
GRADES: Final = _family(
    "grades_total",
    Kind.COUNTER,
    "Kept answers that were compared with a fresh one, by what was found.",
    "kind",
    "grade",
)
WRONG: Final = _family(
    "wrong_ratio",
    Kind.GAUGE,
    "Wrong answers among requests looked up or among hits: estimate and 95 % Wilson interval.",
    *("of", "bound"),
    unit=Unit.RATIO,
)
SAVED: Final = _family("saved_usd_total", Kind.COUNTER, "USD that the hits' answers had cost.", unit=Unit.USD)
PROOF: Final = _family(
    "proof_cost_usd_total", Kind.COUNTER, "USD spent to learn how many are wrong.", "kind", unit=Unit.USD
)
EMBEDDING: Final = _family(
    "embedding_cost_usd_total", Kind.COUNTER, "USD spent on a provider's embeddings of questions.", unit=Unit.USD
)
SKIPS: Final = _family(
    "skips_total", Kind.COUNTER, "Questions not looked up, or not waited for, or not kept.", "step", "reason"
)
ENTRIES: Final = _family("entries_total", Kind.COUNTER, "Entries that grading admitted or evicted.", "change")
DOMAINS: Final = _family("domains", Kind.GAUGE, "Domains of the feature, by what they may serve.", "state")
SERVER_UP: Final = Family(
    name="farthing_semantic_server_up",
    kind=Kind.GAUGE,
    help="1 if the server of cache.semantic.url answers this worker, 0 if it does not and lookups are misses.",
)
SERVER_ERRORS: Final = Family(
    name="farthing_semantic_server_errors",
    kind=Kind.GAUGE,
    help="Questions of this worker that the server of cache.semantic.url did not answer, or not in time.",
)
SEMANTIC_FAMILIES: Final = (
    *(SERVER_UP, SERVER_ERRORS, REQUESTS, HITS, GRADES, WRONG, SAVED, PROOF, EMBEDDING, SKIPS, ENTRIES, DOMAINS),
)

Sample = tuple[tuple[str, ...], int]


def semantic_lines(reports: Sequence[FeatureReport]) -> list[str]:
    """The families, for `Metrics.add_source`; none of a gateway without a semantic cache."""
    if not reports:
        return []
    return [line for family, read in _READ for line in value_lines(family, _samples(reports, read))]


def _samples(
    reports: Iterable[FeatureReport], read: Callable[[FeatureReport], dict[tuple[str, ...], int]]
) -> list[Sample]:
    return [((report.feature, *labels), number) for report in reports for labels, number in read(report).items()]


def _hits(report: FeatureReport) -> dict[tuple[str, ...], int]:
    careful = report.conservative_hits
    return {("conservative",): careful, ("calibrated",): report.hits - careful}


def _grades(report: FeatureReport) -> dict[tuple[str, ...], int]:
    return {
        ("hit", "right"): report.graded - report.wrong,
        ("hit", "wrong"): report.wrong,
        ("miss", "decided"): report.graded_misses,
        ("hit", "undecided"): report.undecided_hits,
        ("miss", "undecided"): report.undecided - report.undecided_hits,
    }


def _wrong(report: FeatureReport) -> dict[tuple[str, ...], int]:
    found: dict[tuple[str, ...], int] = {}
    for name, interval in (("requests", report.wrong_per_request), ("hits", report.wrong_per_hit)):
        for bound in ("estimate", "low", "high"):
            found[name, bound] = round(getattr(interval, bound) * _MILLION)
    return found


def _domains(report: FeatureReport) -> dict[tuple[str, ...], int]:
    return {
        ("learning",): report.domains - report.calibrated,
        ("calibrated",): report.calibrated,
        ("stopped",): report.stopped,
    }


_READ: Final[tuple[tuple[Family, Callable[[FeatureReport], dict[tuple[str, ...], int]]], ...]] = (
    (REQUESTS, lambda report: {(): report.requests}),
    (HITS, _hits),
    (GRADES, _grades),
    (WRONG, _wrong),
    (SAVED, lambda report: {(): report.saved}),
    (PROOF, lambda report: {("shadow",): report.shadow_cost, ("judge",): report.judge_cost}),
    (EMBEDDING, lambda report: {(): report.embedding_cost}),
    (SKIPS, lambda report: {tuple(name): times for name, times in report.skipped.items()}),
    (ENTRIES, lambda report: {("admitted",): report.admitted, ("evicted",): report.evicted}),
    (DOMAINS, _domains),
)
