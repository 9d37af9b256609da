"""Present: what a gateway with this configuration would go by at this moment, for commands and their questions."""

from farthing.routing import Demotion, Scorecard
from gateway.files import Files
from gateway.generations import new_generation
from gateway.runtime import Generation
from gateway.settings import Settings
from gateway.taskdesk import resolver_of

Evidence = tuple[tuple[Scorecard, ...], tuple[Demotion, ...]]


def evidence_of(files: Files) -> Evidence:
    """What is on record; nothing where no eval ever ran, and no file is made for a question. Blocks."""
    from evals.scorecards import ScorecardStore

    if not files.scorecards.is_file():
        return (), ()
    with ScorecardStore(files.scorecards) as store:
        return store.latest(), store.demotions()


def present(settings: Settings, evidence: Evidence, now_ns: int) -> Generation:
    """The generation of these settings. Raises ConfigError for a price that cannot be used."""
    scorecards, demotions = evidence
    resolver = resolver_of(settings.catalog, settings.tasks)
    return new_generation(settings, scorecards, now_ns=now_ns, demotions=demotions, resolver=resolver)
