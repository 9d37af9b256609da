"""Form of how the live answers of a task are watched."""

from typing import Annotated

from farthing.catalog import LiveGrader, LiveRule
from gateway.settings import scalars
from gateway.settings.forms import Form, setting
from gateway.settings.scalars import Flag, Ratio

Portion = Annotated[float, scalars.percent("0.01%", "100%")]


class LiveForm(Form):
    """What is watched of the answers of routed calls, and what they are held to."""

    enabled: Flag = setting(
        False, "Watch them, and take the task from a tier whose answers got worse; see docs/drift.md."
    )
    grader: Annotated[str, scalars.choice(*LiveGrader)] = setting(
        "agreement",
        "How a sample is graded. agreement: it says the same as the reference, asked the same. judge: the judge of "
        "cache.semantic decides where that cannot be told. none: not at all.",
    )
    share: Portion = setting("2%", "Share of the answers that is graded; ten times as much until `period` are.")
    margin: Ratio = setting("0.05", "How far grades may fall below those of the period.")
    period: Annotated[int, scalars.whole(20, 100_000)] = setting(
        100, "Graded answers after a pass that show what to hold the tier to."
    )
    most_faulty: Ratio = setting("0.2", "Share of answers that may be empty, cut, refused or in the wrong form.")
    revisions: Flag = setting(True, "Whether another model, or fingerprint, behind the same name takes the task away.")

    @property
    def rule(self) -> LiveRule | None:
        """The value; None where nothing is watched."""
        if not self.enabled:
            return None
        return LiveRule(
            grader=LiveGrader(self.grader),
            share=self.share,
            margin=self.margin,
            period=self.period,
            most_faulty=self.most_faulty,
            revisions=self.revisions,
        )
