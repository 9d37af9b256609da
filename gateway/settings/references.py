"""References: names that one part of the tree uses and another part must declare, and names that must be unique.

Works on the plain tree, so that a typo in one section does not hide what is wrong in another.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final

from farthing.tags import CACHE, SHADOW, UNREGISTERED
from gateway.settings.findings import Findings, Path, suggestion
from gateway.settings.policy_references import PolicyCheck
from gateway.settings.providers import KINDS
from gateway.settings.tree import Tree

AUTO: Final = "auto"
TIER: Final = "tier/"
_PRICE_IDENTITY: Final = ("provider", "model", "service_tier", "valid_from", "above_input_tokens")

Rows = Iterable[tuple[Path, Any]]


def check_references(tree: Tree, findings: Findings) -> None:
    """Add a finding for every name that is not declared, declared twice, or declared where it cannot be."""
    check = _Check(tree, findings)
    check.tiers()
    check.models()
    check.aliases()
    check.tasks()
    check.features()
    check.policies()
    check.keys()
    check.budgets()
    check.prices()
    check.evals()
    check.shadows()
    check.embedder()


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _rows(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _texts(rows: Rows) -> Iterator[tuple[Path, str]]:
    return ((path, value) for path, value in rows if isinstance(value, str))


def _circle(behind: dict[str, str], start: str) -> list[str]:
    """The names from `start` on that lead back to it, empty where they lead elsewhere."""
    way = [start]
    while (following := behind.get(way[-1])) is not None and following not in way:
        way.append(following)
    return way if following == start else []


class _Check:
    def __init__(self, tree: Tree, findings: Findings) -> None:
        self._tree, self._findings = tree, findings
        data = tree.data
        self._providers = _table(data.get("providers"))
        self._tasks = _table(data.get("tasks"))
        self._features = _table(data.get("features"))
        self._tier_names = [name for _, name in _texts(self._column("tiers", "name"))]

    # --- sections ---

    def tiers(self) -> None:
        """Tier names are unique, deployments too within a tier, and their providers exist."""
        self._unique(self._column("tiers", "name"), "tier")
        for path, deployments in self._column("tiers", "deployments"):
            self._deployments(path, deployments)
        self._fallbacks()
        default = self._tree.data.get("default_tier")
        self._known(("default_tier",), default, self._tier_names, "tier", "tiers")
        if not self._tier_names and not self._tree.data.get("models") and not self._findings:
            self._findings.add(
                self._tree.place(()), ("tiers",), "there is no model to call; declare providers and tiers"
            )

    def models(self) -> None:
        """Models outside the ladder have providers, and names that no tier uses."""
        in_tiers = {name for _, name in self._tier_models()}
        for name, deployments in _table(self._tree.data.get("models")).items():
            path = ("models", name)
            self._deployments(path, deployments)
            if name in in_tiers:
                self._say_key(path, "is the name of a model in `tiers` already; choose another")
            if deployments == []:
                self._say_key(path, "has no deployment; add one, or remove the model")

    def aliases(self) -> None:
        """Aliases mean `auto` or a tier, and hide no model."""
        models = {name for _, name in self._tier_models()} | set(_table(self._tree.data.get("models")))
        for name, target in _table(self._tree.data.get("aliases")).items():
            path = ("aliases", name)
            if name in models:
                self._say_key(path, "is the name of a model already; choose another")
            if isinstance(target, str):
                self._known(path, target, [AUTO, *(TIER + tier for tier in self._tier_names)], "target", "tiers")

    def tasks(self) -> None:
        """Tasks name tiers; candidates stand below the reference; who grades live answers is paid by somebody."""
        for name, task in self._tasks.items():
            path = ("tasks", name)
            self._live((*path, "live"), _table(_table(task).get("live")))
            reference = _table(task).get("reference")
            self._known((*path, "reference"), reference, self._tier_names, "tier", "tiers")
            candidates: list[tuple[Path, Any]] = [
                ((*path, "candidates", index), tier) for index, tier in enumerate(_rows(_table(task).get("candidates")))
            ]
            self._unique(candidates, "candidate")
            for place, tier in candidates:
                self._known(place, tier, self._tier_names, "tier", "tiers")
                self._below(place, tier, reference)
        self._unique(self._system_prompts(), "system prompt")

    def features(self) -> None:
        """Features name tasks and tiers."""
        for name, feature in self._features.items():
            path = ("features", name)
            if name == UNREGISTERED:
                self._say_key(path, "is the name for calls of unknown features; choose another")
            self._known((*path, "task"), _table(feature).get("task"), self._tasks, "task", "tasks")
            self._known((*path, "tier"), _table(feature).get("tier"), self._tier_names, "tier", "tiers")

    def policies(self) -> None:
        """Policies exist, and can be asked by whoever asks them."""
        declared = _table(self._tree.data.get("policies"))
        PolicyCheck(self._tier_names, declared, self._features, self._tasks, known=self._known, say=self._say)()

    def keys(self) -> None:
        """Key ids and hashes are unique; keys name features and tasks."""
        self._unique(self._column("keys", "id"), "key")
        self._unique(self._column("keys", "hash"), "hash")
        for path, feature in self._column("keys", "feature"):
            self._known(path, feature, self._features, "feature", "features")
        for path, task in self._column("keys", "task"):
            self._known(path, task, self._tasks, "task", "tasks")
        for path, features in self._column("keys", "features"):
            for index, feature in enumerate(_rows(features)):
                self._known((*path, index), feature, self._features, "feature", "features")

    def budgets(self) -> None:
        """Budget ids are unique, no two bind the same calls in the same window, and their scopes name what exists: a
        misspelt one would bind nothing."""
        self._unique(self._column("budgets", "id"), "budget")
        self._overlapping_budgets()
        known = {
            "feature": ([*self._features, UNREGISTERED], "features"),
            "task": (self._tasks, "tasks"),
            "key": (self._values("keys", "id"), "keys"),
            "tenant": (self._values("keys", "tenant"), "keys"),
            "team": (self._values("keys", "team") | self._feature_teams(), "keys"),
        }
        for path, where in self._column("budgets", "where"):
            for scope, value in _table(where).items():
                if scope in known:
                    names, section = known[scope]
                    self._known((*path, scope), value, names, scope, section)

    def _overlapping_budgets(self) -> None:
        seen: dict[tuple[object, ...], Path] = {}
        for index, row in enumerate(map(_table, _rows(self._tree.data.get("budgets")))):
            path: Path = ("budgets", index)
            where = {name: str(value) for name, value in _table(row.get("where")).items()}
            per = sorted(map(str, _rows(row.get("per"))))
            turn = str(row.get("window")), str(row.get("timezone", "UTC"))
            identity = (tuple(sorted(where.items())), tuple(per), turn)
            first = seen.setdefault(identity, path)
            if first != path and "window" in row:
                line = self._tree.place(first).line
                self._say(
                    path, f"the budget on line {line} binds the same calls in the same window; keep the lower one"
                )

    def prices(self) -> None:
        """Prices name providers that exist, and no price is given twice for one day."""
        names = set(self._providers)
        for name, provider in self._providers.items():
            kind = KINDS.get(str(_table(provider).get("kind")))
            names.add(str(_table(provider).get("price_provider") or (kind and kind.price_provider) or name))
        for path, provider in self._column("prices", "provider"):
            self._known(path, provider, names, "provider", "providers")
        seen: dict[tuple[str, ...], Path] = {}
        for index, price in enumerate(_rows(self._tree.data.get("prices"))):
            row = _table(price)
            identity = tuple(str(row.get(name) or "") for name in _PRICE_IDENTITY)
            first = seen.setdefault(identity, ("prices", index))
            if first != ("prices", index) and "model" in row:
                self._say(
                    ("prices", index), f"the same price is given on line {self._tree.place(first).line}; keep one"
                )
        for identity, path in seen.items():
            if identity[-1] and (*identity[:-1], "") not in seen:
                self._say(
                    (*path, "above_input_tokens"),
                    "requests with fewer tokens have no price; add an entry with the same provider, model, "
                    "service_tier and valid_from, without above_input_tokens",
                )

    def evals(self) -> None:
        """The feature of eval calls is registered, and a schedule has a cap and a key."""
        evals = self._tree.data.get("evals")
        if isinstance(evals, dict):
            feature = evals.get("feature", "evals")
            self._known(("evals", "feature"), feature, self._features, "feature", "features")
            schedule = _table(evals.get("schedule"))
            if schedule.get("every") is not None and schedule.get("budget_usd") is None:
                self._say(("evals", "schedule"), "runs that begin by themselves need a cap; write budget_usd")
            if schedule.get("every") is not None and evals.get("api_key_env") is None:
                self._say(("evals", "schedule"), "its runs need a virtual key; name its variable in evals.api_key_env")

    def shadows(self) -> None:
        """What the gateway asks on its own account has a budget of its own, and its judge exists."""
        judge = _table(self._semantic.get("judge")).get("model")
        path = ("cache", "semantic", "judge", "model")
        if isinstance(judge, str):
            names = {AUTO, *_table(self._tree.data.get("aliases")), *_table(self._tree.data.get("models"))}
            names |= {name for _, name in self._tier_models()} | {TIER + tier for tier in self._tier_names}
            self._known(path, judge, sorted(names), "model", "tiers")
            if judge in names and SHADOW not in self._features:
                self._say(path, f"the judge is paid by the feature {SHADOW}; declare it under `features:`")
        self._capped(SHADOW)

    def embedder(self) -> None:
        """What the semantic cache spends on a provider's embeddings has a feature and a budget of its own."""
        embedder = _table(self._semantic.get("embedder"))
        provider, whole = embedder.get("provider"), len(embedder) > 2  # else there is a finding about that
        path = ("cache", "semantic", "embedder", "provider")
        self._known(path, provider, self._providers, "provider", "providers")
        if whole and provider in self._providers and CACHE not in self._features:
            self._say(path, f"embeddings are paid by the feature {CACHE}; declare it under `features:`")
        self._capped(CACHE)

    @property
    def _semantic(self) -> dict[str, Any]:
        return _table(_table(self._tree.data.get("cache")).get("semantic"))

    def _capped(self, feature: str) -> None:
        budgets = [_table(row) for row in _rows(self._tree.data.get("budgets"))]
        capped = any(
            _table(row.get("where")).get("feature") == feature or "feature" in _rows(row.get("per")) for row in budgets
        )
        if feature in self._features and not capped:
            self._say_key(("features", feature), f"has no cap; add a budget with where: {{feature: {feature}}}")

    # --- rules ---

    def _deployments(self, path: Path, deployments: Any) -> None:
        seen: dict[tuple[str, str], int] = {}
        for index, deployment in enumerate(_rows(deployments)):
            row = _table(deployment)
            self._known((*path, index, "provider"), row.get("provider"), self._providers, "provider", "providers")
            identity = (str(row.get("provider")), str(row.get("model")))
            if seen.setdefault(identity, index) != index and "model" in row:
                self._say((*path, index), "the same model of the same provider stands above; keep one")

    def _fallbacks(self) -> None:
        """Tiers fall to tiers that exist, and never in a circle."""
        behind: dict[str, str] = {}
        places: dict[str, Path] = {}
        for path, tier in _texts(self._column("tiers", "fallback")):
            self._known(path, tier, self._tier_names, "tier", "tiers")
            name = _rows(self._tree.data.get("tiers"))[int(path[1])].get("name")
            if isinstance(name, str) and name not in behind:
                behind[name], places[name] = tier, path
        told: set[str] = set()
        for name in behind:
            circle = _circle(behind, name)
            if circle and told.isdisjoint(circle):
                told.update(circle)
                way = " -> ".join([*circle, name])
                self._say(places[name], f"tiers fall back in a circle ({way}); let one of them fall to none")

    def _live(self, path: Path, live: dict[str, Any]) -> None:
        grader = live.get("grader", "agreement")
        if live.get("enabled") not in (True, "true") or grader == "none":
            return
        if SHADOW not in self._features:
            what = f"grading is paid by the feature {SHADOW}; declare it under `features:`, or set grader: none"
            self._say(path, what)
        if grader == "judge" and not isinstance(_table(self._semantic.get("judge")).get("model"), str):
            self._say((*path, "grader"), "there is no judge; set cache.semantic.judge.model")

    def _below(self, place: Path, tier: Any, reference: Any) -> None:
        ranks = {name: rank for rank, name in reversed(list(enumerate(self._tier_names)))}
        if not (isinstance(tier, str) and isinstance(reference, str)):
            return
        if tier in ranks and reference in ranks and ranks[tier] >= ranks[reference]:
            self._say(place, "is not cheaper than the reference; list tiers that stand above it in `tiers`")

    def _known(self, path: Path, value: Any, names: Collection[Any], noun: str, section: str) -> None:
        if not isinstance(value, str) or value in names:
            return
        given = self._tree.given(path) if path in self._tree.texts else f"'{value}'"
        hint = "" if self._findings.full else suggestion(value, [str(name) for name in names])
        self._say(path, f"there is no {noun} {given}; {hint or f'declare it under `{section}:`'}")

    def _unique(self, rows: Rows, noun: str) -> None:
        seen: dict[str, Path] = {}
        for path, value in _texts(rows):
            first = seen.setdefault(value, path)
            if first != path:
                self._say(path, f"this {noun} is on line {self._tree.place(first).line} already; keep one")

    # --- reading the tree ---

    def _column(self, section: str, name: str) -> Iterator[tuple[Path, Any]]:
        for index, row in enumerate(_rows(self._tree.data.get(section))):
            if name in _table(row):
                yield (section, index, name), row[name]

    def _values(self, section: str, name: str) -> set[str]:
        return {value for _, value in _texts(self._column(section, name))}

    def _system_prompts(self) -> Iterator[tuple[Path, Any]]:
        for name, task in self._tasks.items():
            for index, digest in enumerate(_rows(_table(task).get("system_prompts"))):
                yield ("tasks", name, "system_prompts", index), digest

    def _feature_teams(self) -> set[str]:
        teams = (_table(feature).get("team") for feature in self._features.values())
        return {team for team in teams if isinstance(team, str)}

    def _tier_models(self) -> Iterator[tuple[Path, str]]:
        for path, deployments in self._column("tiers", "deployments"):
            for index, row in enumerate(_rows(deployments)):
                name = _table(row).get("name") or _table(row).get("model")
                if isinstance(name, str):
                    yield (*path, index), name

    def _say(self, path: Path, problem: str) -> None:
        self._findings.add(self._tree.place(path), path, problem)

    def _say_key(self, path: Path, problem: str) -> None:
        self._findings.add(self._tree.key_place(path), path, problem)
