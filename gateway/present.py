"""Present: what a gateway with this configuration would go by at this moment, for commands and their questions."""

from farthing.routing import Demotion, Scorecard
from gateway.files import Files
from gateway.generations import new_generation
from gateway.runtime import Generation
from gateway.settings import Settings
from gateway.taskdesk import TaskDesk

Evidence = tuple[tuple[Scorecard, ...], tuple[Demotion, ...]]


def evidence_of(files: Files) -> Evidence:
    """What is on record; nothing where no eval ever ran, and no file is made for a question. Blocks."""
    from evals.scorecards import ScorecardStore

    if not files.scorecards.is_file():
        return (), ()
    with ScorecardStore(files.scorecards) as store:
        return store.latest(), store.demotions()


def present(settings: Settings, evidence: Evidence, now_ns: int, files: Files) -> Generation:
    """The generation of these settings, with the classifier that was trained for them. Raises ConfigError for a price
    that cannot be used. Blocks."""
    scorecards, demotions = evidence
    resolver = TaskDesk(classifier=files.classifier).resolver(settings)
    return new_generation(settings, scorecards, now_ns=now_ns, demotions=demotions, resolver=resolver)
