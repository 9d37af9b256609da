"""Present: what a gateway with this configuration would go by at this moment, for commands and their questions."""

from farthing.routing import Demotion, Scorecard
from gateway.files import Files
from gateway.generations import new_generation
from gateway.runtime import Generation
from gateway.settings import EvalSettings, Settings
from gateway.taskdesk import TaskDesk

Evidence = tuple[tuple[Scorecard, ...], tuple[Demotion, ...]]


def evidence_of(files: Files, evals: EvalSettings) -> Evidence:
    """What is on record; nothing where no eval ever ran, and no file is made for a question. Blocks."""
    from evals.cardfiles import CardFiles
    from evals.scorecards import ScorecardStore

    cards = () if evals.scorecards_dir is None else CardFiles(evals.scorecards_dir).latest()
    if not files.scorecards.is_file():
        return cards, ()
    with ScorecardStore(files.scorecards) as store:
        return cards if evals.scorecards_dir else store.latest(), store.demotions()


def present(settings: Settings, evidence: Evidence, now_ns: int, files: Files) -> Generation:
    """The generation of these settings, with the classifier that was trained for them. Raises ConfigError for a price
    that cannot be used. Blocks."""
    scorecards, demotions = evidence
    from evals.shelf import Shelf

    suites = Shelf(settings.evals.suites, allow_code=settings.evals.allow_code).look().versions()
    resolver = TaskDesk(classifier=files.classifier).resolver(settings)
    return new_generation(settings, scorecards, now_ns=now_ns, demotions=demotions, suites=suites, resolver=resolver)
