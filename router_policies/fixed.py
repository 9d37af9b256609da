"""The policy `fixed`: the tier that the feature names."""

from farthing.routing import Choice, RouteQuestion


class Fixed:
    """Picks `feature.tier`, whatever the evidence; the catalogue's default tier where the feature names none."""

    def choose(self, question: RouteQuestion) -> Choice:
        feature = question.feature
        if not feature.tier:
            return Choice(
                tier=question.catalog.default_tier,
                reason=f"fixed: feature {feature.name} names no tier, so the default one",
            )
        return Choice(tier=feature.tier, reason=f"fixed: tier {feature.tier} of feature {feature.name}")
