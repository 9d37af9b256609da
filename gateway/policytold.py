"""Policy told: a policy diff as text, as Markdown for a pull request, and for machines."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from farthing.money import format_usd
from gateway.policydiff import Group, PolicyDiff, shift_of
from gateway.sides import Side
from ledger.replay import Drawn

MIX_HEADS: Final = ("goes to", "requests old", "share", "requests new", "share new", "USD old", "USD new")
MOVED_HEADS: Final = (
    *("feature", "task", "from", "to", "requests", "USD old", "USD new", "difference"),
    *("score", "because"),
)
RISK_HEADS: Final = ("risk", "requests", "what")
KINDS: Final = {
    "unproven": "no valid pass",
    "refused": "refused",
    "failover": "loses failover",
    "vanished": "vanishes",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A diff with what is to be said beside it: `old` and `new` are the names that the user gave, `days` the period,
    `drawn` how much of it was replayed, `passed_over` how many of these were never sent, or are the gateway's own;
    `notes` are sentences on what is not known."""

    diff: PolicyDiff
    side: Side
    old: str
    new: str
    days: int
    drawn: Drawn
    passed_over: int
    notes: tuple[str, ...]

    # --- sentences ---------------------------------------------------------------------------------

    def heading(self) -> list[str]:
        """What was compared, and what both cost."""
        total, drawn = self.diff.total, self.drawn
        sample = f"a sample of {drawn.taken:,} of" if drawn.taken < drawn.records else "all"
        return [
            f"{self.old} against {self.new}: {sample} {drawn.records:,} requests of the last {self.days} days.",
            f"The {total.requests:,} that can be replayed ({total.hits:,} of them hits, which cost nothing on either "
            f"side) cost {format_usd(total.old)} USD by the old configuration and {format_usd(total.new)} USD by the "
            f"new one: {signed(total.delta)} USD{_percent(total.delta, total.old)}, with their own tokens at today's "
            "prices.",
        ]

    def quality(self) -> str:
        """The expected change of the score, with what is not known of it."""
        found = self.diff.quality
        if not found.moved:
            return "No call that a model answers goes to another tier, so no change of quality is expected."
        known, shift = found.moved - found.unknown, found.shift
        text = f"Of {found.moved:,} calls that move, scorecards compare the tiers of {known:,}."
        if known:
            text += (
                f" Over all calls, unmoved ones included, the mean score is expected to change by {shift.change:+.4f} "
                f"({shift.low:+.4f} to {shift.high:+.4f})."
            )
        return text

    # --- tables ------------------------------------------------------------------------------------

    def mix(self) -> list[list[str]]:
        """Where calls go, on both sides."""
        lines = self.diff.mix
        old, new = (sum(getattr(line, name) for line in lines.values()) for name in ("old_requests", "new_requests"))
        return [
            [
                label,
                f"{line.old_requests:,}",
                _share(line.old_requests, old),
                f"{line.new_requests:,}",
                _share(line.new_requests, new),
                format_usd(line.old),
                format_usd(line.new),
            ]
            for label, line in lines.items()
        ]

    def moved(self) -> list[list[str]]:
        """Routes that changed, the greatest difference in cost first."""
        return [
            [
                group.feature,
                group.old.task if group.old.task == group.new.task else f"{group.old.task} -> {group.new.task}",
                group.old.label,
                group.new.label,
                f"{group.sums.requests:,}",
                format_usd(group.sums.old),
                format_usd(group.sums.new),
                signed(group.sums.delta),
                self._score(group),
                group.new.why,
            ]
            for group in self.diff.moved
        ]

    def _score(self, group: Group) -> str:
        if group.old.label == group.new.label:
            return "the same"
        shift = shift_of(group, self.side)
        return "not known" if shift is None else f"{shift.change:+.3f} ({shift.low:+.3f} to {shift.high:+.3f})"

    def risks(self) -> list[list[str]]:
        """What may go wrong; the most calls first."""
        return [[KINDS[one.kind], f"{one.requests:,}", one.what] for one in self.diff.risks]

    # --- whole -------------------------------------------------------------------------------------

    def markdown(self) -> str:
        """For a comment on a pull request."""
        risks = self.risks()
        parts = [
            "### What the new routing would do",
            *self.heading(),
            _table(MIX_HEADS, self.mix()),
            "#### Changed routes" if self.diff.moved else "No route changes.",
            *([_table(MOVED_HEADS, self.moved())] if self.diff.moved else []),
            self.quality(),
            f"#### Risks: {len(risks)}" if risks else "No risk was found.",
            *([_table(RISK_HEADS, risks)] if risks else []),
            "\n".join(f"- {note}" for note in self.notes),
        ]
        return "\n\n".join(part for part in parts if part) + "\n"

    def members(self) -> dict[str, Any]:
        """For JSON; amounts as exact decimal USD."""
        diff, total, drawn = self.diff, self.diff.total, self.drawn
        return {
            "old": self.old,
            "new": self.new,
            "days": self.days,
            "requests": {
                "in_period": drawn.records,
                "drawn": drawn.taken,
                "replayed": total.requests,
                "passed_over": self.passed_over,
                "hits": total.hits,
                "unpriced": total.unpriced,
                "task_kept_from_row": diff.told_by_body,
                "refused_by_both": diff.refused_by_both,
            },
            "cost": {
                "old_usd": format_usd(total.old),
                "new_usd": format_usd(total.new),
                "difference_usd": format_usd(total.delta),
                "old_cascades_usd_at_most": format_usd(total.old_more),
                "new_cascades_usd_at_most": format_usd(total.new_more),
            },
            "mix": [
                {
                    "goes_to": label,
                    "old": {"requests": line.old_requests, "cost_usd": format_usd(line.old)},
                    "new": {"requests": line.new_requests, "cost_usd": format_usd(line.new)},
                }
                for label, line in diff.mix.items()
            ],
            "changed": [self._group_members(group) for group in diff.moved],
            "quality": {
                "moved": diff.quality.moved,
                "unknown": diff.quality.unknown,
                "change": diff.quality.shift.change,
                "low": diff.quality.shift.low,
                "high": diff.quality.shift.high,
            },
            "risks": [{"kind": one.kind, "requests": one.requests, "what": one.what} for one in diff.risks],
            "not_known": list(self.notes),
        }

    def _group_members(self, group: Group) -> dict[str, Any]:
        shift = shift_of(group, self.side)
        return {
            "feature": group.feature,
            "task": {"old": group.old.task, "new": group.new.task},
            "from": group.old.label,
            "to": group.new.label,
            "requests": group.sums.requests,
            "hits": group.sums.hits,
            "unpriced": group.sums.unpriced,
            "old_usd": format_usd(group.sums.old),
            "new_usd": format_usd(group.sums.new),
            "difference_usd": format_usd(group.sums.delta),
            "score": None if shift is None else {"change": shift.change, "low": shift.low, "high": shift.high},
            "because": group.new.why,
        }


def signed(amount: int) -> str:
    """USD with its sign."""
    return format_usd(amount) if amount < 0 else f"+{format_usd(amount)}"


def _percent(delta: int, old: int) -> str:
    return f" ({delta * 100 / old:+.1f} %)" if old else ""


def _share(part: int, whole: int) -> str:
    return f"{part * 100 / whole:.1f} %" if whole else "-"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    """The text as it stands in a table: whatever a name may hold, it is a name."""
    plain = "".join(char if " " <= char <= "~" else " " for char in text)
    for mark in ("\\", "|", "`", "*", "_", "<", "[", "@", "#"):
        plain = plain.replace(mark, "\\" + mark)
    return plain
