"""Bad trees: every finding has its exact place and says what to do."""

import re
from pathlib import Path

import pytest

from farthing.errors import ConfigError
from gateway.settings import SettingsError, load
from gateway.settings.findings import MOST_FINDINGS, suggestion

BASE = """\
providers:
  box: {kind: vllm}
tiers:
  - name: small
    deployments: [{provider: box, model: tiny}]
  - name: large
    deployments: [{provider: box, model: big}]
tasks: {sums: {bar: 0.9, reference: large, candidates: [small]}}
features: {support: {}}
"""
HASH = "sha256:" + "a" * 64


def findings_of(directory: Path, text: str | bytes, env: dict[str, str] | None = None) -> list[str]:
    """The findings of one file as `line:column: field: problem`."""
    file = directory / "farthing.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SettingsError) as caught:
        load(file, env or {})
    return [str(finding).removeprefix(f"{file}:").strip() for finding in caught.value.findings]


def only_finding(directory: Path, extra: str, env: dict[str, str] | None = None) -> str:
    """The one finding of the good tree with more lines, counted from the first of these lines."""
    found = findings_of(directory, BASE + extra, env)
    assert len(found) == 1, found
    line, _, rest = found[0].partition(":")
    return f"{int(line) - BASE.count(chr(10))}:{rest}"


@pytest.mark.parametrize(
    ("extra", "finding"),
    [
        # names
        ("servr: {port: 1}", "1:1: servr: there is no such setting; did you mean 'server'?"),
        ("server: {prot: 1}", "1:10: server.prot: there is no such setting; did you mean 'port'?"),
        (
            "cache:\n  semantic:\n    treshold: 0.9",
            "3:5: cache.semantic.treshold: there is no such setting; did you mean 'threshold'?",
        ),
        (
            "server:\n  port: 1\n  port: 2",
            "3:3: server.port: is given twice, first on line 11; keep one",
        ),
        ("aliases: {a b: auto}", "1:11: aliases.'a b': 'a b' cannot be used here; write 1 to 200 printable ASCII"),
        ("aliases: {auto: auto}", "1:11: aliases.auto: 'auto' cannot be used here;"),
        ("aliases: {? [a] : auto}", "1:13: aliases: a name must be plain text, not a list or mapping"),
        ("aliases: {'${X}': auto}", "1:11: aliases.'${X}': references are replaced in values only;"),
        # values
        ("server: {port: abc}", "1:16: server.port: 'abc' is not a whole number; write one from 0 to 65535"),
        ("server: {port: 70000}", "1:16: server.port: '70000' is out of range;"),
        ("server: {port: true}", "1:16: server.port: 'true' is not a whole number;"),
        ("server: {port: 1.5}", "1:16: server.port: '1.5' is not a whole number;"),
        ("server: {host: 127}", "1:16: server.host: '127' is not text; put it in quotes"),
        ("server: {host: {a: b}}", "1:16: server.host: text is wanted here, such as a name that is declared elsewhere"),
        ("server: {host: ''}", "1:16: server.host: the text is empty;"),
        ("server: {keep_alive: 75}", "1:22: server.keep_alive: '75' is not a duration; write a number with its unit"),
        ("server: {keep_alive: 2w}", "1:22: server.keep_alive: '2w' is out of range; write a duration from 10ms to 1d"),
        ("cache: {exact: {ttl: 1.5s}}", "1:22: cache.exact.ttl: '1.5s' is not a whole number of seconds;"),
        ("cache: {exact: {enabled: 1}}", "1:26: cache.exact.enabled: '1' is not a switch; write true or false"),
        ("cache: {semantic: {threshold: 1.5}}", "1:31: cache.semantic.threshold: '1.5' is out of range;"),
        ("cache: {semantic: {max_wrong: 0.5}}", "1:31: cache.semantic.max_wrong: '0.5' is no share in per cent;"),
        ("cache: {semantic: {max_wrong: 30%}}", "1:31: cache.semantic.max_wrong: '30%' is out of range;"),
        (
            "cache: {semantic: {judge: {model: tier/small}}}",
            "1:35: cache.semantic.judge.model: the judge is paid by the feature farthing-shadow; declare it",
        ),
        (
            "cache: {semantic: {judge: {model: gpt-none}}}",
            "1:35: cache.semantic.judge.model: there is no model 'gpt-none';",
        ),
        (
            "cache: {semantic: {embedder: minlm}}",
            "1:30: cache.semantic.embedder: 'minlm' is not possible here; write minilm, or {provider: ...,",
        ),
        (
            "cache: {semantic: {embedder: {provider: box, dimensions: 8}}}",
            "1:30: cache.semantic.embedder.model: is missing; an embedder needs provider, model and dimensions,",
        ),
        (
            "cache: {semantic: {embedder: {provider: bx, model: e, dimensions: 8}}}",
            "1:41: cache.semantic.embedder.provider: there is no provider 'bx'; did you mean 'box'?",
        ),
        (
            "cache: {semantic: {embedder: {provider: box, model: e, dimensions: 8}}}",
            "1:41: cache.semantic.embedder.provider: embeddings are paid by the feature farthing-cache; declare it",
        ),
        ("server: {metrics_access: opne}", "1:26: server.metrics_access: 'opne' is not possible here;"),
        ("server: 5", "1:9: server: must hold named values;"),
        ("keys: {id: k}", "1:7: keys: must be a list;"),
        # the calling side
        (
            "upstream: {proxy: 'http://p:3128'}",
            "1:19: upstream.proxy: the client relay has none; write client: pyreqwest, or delete the line",
        ),
        ("upstream: {http2: true}", "1:19: upstream.http2: the client relay has none;"),
        ("upstream: {client: relya}", "1:20: upstream.client: 'relya' is not possible here;"),
        # YAML 1.1
        ("server: {host: no}", "1:16: server.host: 'no' means true or false to some YAML readers;"),
        ("cache: {exact: {enabled: On}}", "1:26: cache.exact.enabled: 'On' means true or false to some YAML readers;"),
        ("aliases: {on: auto}", "1:11: aliases.on: 'on' means true or false to some YAML readers;"),
        ("server: {keep_alive: 1:30}", "1:22: server.keep_alive: '1:30' is a number to base 60 for some YAML readers;"),
        ("server: {port: 010}", "1:16: server.port: '010' is octal or hexadecimal for some YAML readers;"),
        ("server: {port: 0x1F}", "1:16: server.port: '0x1F' is octal or hexadecimal for some YAML readers;"),
        ("server: {port: .nan}", "1:16: server.port: '.nan' is not a number that can be used;"),
        ("server: {port: -.INF}", "1:16: server.port: '-.INF' is not a number that can be used;"),
        (f"server: {{port: {'9' * 5000}}}", "1:16: server.port: the number has more than 40 characters;"),
        ("server: {host: &a h}", "1:16: server.host: YAML anchors (&name) are not allowed;"),
        ("server: {host: *a}", "1:16: server.host: YAML aliases (*name) are not allowed; write the value out"),
        ("server: {host: !!python/name:os.system x}", "1:16: server.host: YAML tags (!name) are not allowed;"),
        ("server: !!map {}", "1:9: server: YAML tags (!name) are not allowed;"),
        ("server: {<<: {port: 1}}", "1:10: server: a name is missing here;"),
        ("---\nserver: {}", "1:1: a file holds one document;"),
        # references within the tree
        (
            "models: {m: [{provider: boxx, model: m}]}",
            "1:25: models.m[0].provider: there is no provider 'boxx'; did you mean 'box'?",
        ),
        ("models: {tiny: [{provider: box, model: m}]}", "1:10: models.tiny: is the name of a model in `tiers`"),
        ("models: {m: []}", "1:10: models.m: has no deployment;"),
        (
            "models: {m: [{provider: box, model: m}, {provider: box, model: m}]}",
            "1:41: models.m[1]: the same model of the same provider stands above; keep one",
        ),
        ("aliases: {a: tier/smal}", "1:14: aliases.a: there is no target 'tier/smal'; did you mean 'tier/small'?"),
        ("aliases: {big: auto}", "1:11: aliases.big: is the name of a model already;"),
        ("default_tier: lagre", "1:15: default_tier: there is no tier 'lagre'; did you mean 'large'?"),
        ("budgets: [{id: b, limit_usd: 1, window: day, where: {feature: suport}}]",
         "1:63: budgets[0].where.feature: there is no feature 'suport'; did you mean 'support'?"),
        ("budgets: [{id: b, limit_usd: 1, window: day, where: {tenant: acme}}]",
         "1:62: budgets[0].where.tenant: there is no tenant 'acme'; declare it under `keys:`"),
        ("evals: {}", "1:8: evals.feature: there is no feature 'evals'; known here: support"),
        # money
        ("budgets: [{id: b, limit_usd: -1, window: day}]", "1:30: budgets[0].limit_usd: '-1' is out of range;"),
        ("budgets: [{id: b, limit_usd: NaN, window: day}]", "1:30: budgets[0].limit_usd: 'NaN' is not a number;"),
        (
            "budgets: [{id: b, limit_usd: 0.0000000001, window: day}]",
            "1:30: budgets[0].limit_usd: '0.0000000001' has more than 9 decimal places;",
        ),
        ("budgets: [{id: b, limit_usd: 1, window: run}]",
         "1:41: budgets[0].window: the window run needs an account for each run; write per: [run]"),
        ("budgets: [{id: b, limit_usd: 1, window: day, per: [featur]}]",
         "1:52: budgets[0].per[0]: 'featur' is not possible here;"),
        ("budgets: [{id: b, limit_usd: 1, window: day, where: {featur: support}}]",
         "1:54: budgets[0].where.featur: 'featur' is not possible here;"),
        ("budgets: [{id: b, limit_usd: 1, window: day, timezone: Europe/Berln}]",
         "1:56: budgets[0].timezone: 'Europe/Berln' is no time zone;"),
        ("budgets: [{id: b, limit_usd: 1, window: day, timezone: ../../etc/passwd}]",
         "1:56: budgets[0].timezone: '../../etc/passwd' is no time zone;"),
        ("budgets: [{id: b, limit_usd: 1, limit_eur: 1, window: day}]",
         "1:33: budgets[0].limit_eur: amounts are in USD, the currency of every price; convert it and write limit_usd"),
        ("budgets: [{id: b, limit_usd: 1, window: day, currency: EUR}]",
         "1:46: budgets[0].currency: amounts are in USD, the currency of every price;"),
        ("budgets: [{id: b, limit_usd: 10 EUR, window: day}]", "1:30: budgets[0].limit_usd: '10 EUR' is not a number;"),
        ("budgets:\n  - {id: a, limit_usd: 1, window: day, where: {feature: support, environment: x}, per: [key, task]}"
         "\n  - {id: b, limit_usd: 9, window: day, where: {environment: x, feature: support}, per: [task, key]}",
         "3:5: budgets[1]: the budget on line 11 binds the same calls in the same window; keep the lower one"),
        ("budgets: [{id: b, limit_usd: 1, window: day, thresholds: [{at: 1, do: notify}]}]",
         "1:64: budgets[0].thresholds[0].at: at 1 every call is refused anyway; write a share below it"),
        ("budgets: [{id: b, limit_usd: 1, window: day, thresholds: [{at: 0, do: notify}]}]",
         "1:64: budgets[0].thresholds[0].at: '0' is out of range;"),
        ("budgets: [{id: b, limit_usd: 1, window: day, thresholds: [{at: 0.5, do: refuse}]}]",
         "1:73: budgets[0].thresholds[0].do: 'refuse' is not possible here; write one of notify, downgrade, cheapest"),
        ("budgets: [{id: b, limit_usd: 1, window: day, thresholds: [{at: 0.8, do: notify}, {at: 0.8, do: downgrade}]}]",
         "1:87: budgets[0].thresholds[1].at: '0.8' does not come after the one above; list them in ascending order"),
        ("budgets: [{id: b, limit_usd: 1, window: day, max_run_usd: 2}]",
         "1:59: budgets[0].max_run_usd: only the window run has opened runs; delete the line"),
        ("budgets: [{id: b, limit_usd: 3, window: run, per: [run], max_run_usd: 2}]",
         "1:71: budgets[0].max_run_usd: '2' is below limit_usd; raise it, or delete the line"),
        ("alerts: {webhook_url: https://hooks.example/T0/secret}",
         "1:23: alerts.webhook_url: an address with a secret may not stand in a file; write ${ALERTS_WEBHOOK_URL},"),
        ("prices: [{provider: box, model: m, input_per_tok: 1}]",
         "1:36: prices[0].input_per_tok: there is no such setting; did you mean 'input_per_mtok'?"),
        ("prices: [{provider: box, model: m, video_per_mtok: 1}]",
         "1:36: prices[0].video_per_mtok: there is no such setting"),
        ("prices: [{provider: box, model: m, per_request: 1, above_input_tokens: 9}]",
         "1:72: prices[0].above_input_tokens: requests with fewer tokens have no price; add an entry"),
        ("prices: [{provider: box, model: m, input_per_mtok: 1}]",
         "1:10: prices[0].output_per_mtok: is missing beside the other rates;"),
        ("prices: [{provider: box, model: m, input_per_mtok: 0, output_per_mtok: 0.0}]",
         "1:52: prices[0].input_per_mtok: every rate is zero; write free: true if that is meant"),
        ("prices: [{provider: box, model: m, per_second: 1, free: true}]",
         "1:57: prices[0].free: the price is free and has a rate above zero;"),
        ("prices: [{provider: box, model: m}]", "1:10: prices[0]: no rate is given;"),
        ("prices: [{provider: boxx, model: m, per_request: 1}]",
         "1:21: prices[0].provider: there is no provider 'boxx'; did you mean 'box'?"),
        ("prices: [{provider: box, model: m, per_request: 1}, {provider: box, model: m, per_request: 2}]",
         "1:53: prices[1]: the same price is given on line 10; keep one"),
        # policies
        ("policies: {cheap: {kind: cheapest}}", "1:26: policies.cheap.kind: 'cheapest' is not possible here;"),
        ("policies: {quick: {kind: latency_bound}}", "1:19: policies.quick.p95: is missing; write p95: with a"),
        ("policies: {slow: {kind: canary, p95: 2s}}",
         "1:38: policies.slow.p95: the kind canary does not use it; delete the line"),
        ("policies: {slow: {kind: canary, then: qiuck}, quick: {kind: latency_bound, p95: 2s}}",
         "1:39: policies.slow.then: there is no policy 'qiuck'; did you mean 'quick'?"),
        ("policies: {canary: {kind: canary}}", "1:20: policies.canary: is the name of a kind of policy; choose"),
        ("policies: {a: {kind: canary, then: b}, b: {kind: canary}}",
         "1:36: policies.a.then: a policy of kind canary cannot be asked; budget_aware, cheapest_passing, latency"),
        ("policies: {a: {kind: budget_aware, then: fixed}}", "1:42: policies.a.then: a policy of kind fixed cannot"),
        ("policies: {a: {kind: latency_bound, p95: 2s, then: a}}",
         "1:52: policies.a.then: it asks itself: a -> a; let the last one ask cheapest_passing"),
        ("policies: {first: {kind: cascade, tier: smal}}",
         "1:41: policies.first.tier: there is no tier 'smal'; did you mean 'small'?"),
        # keys
        (f"keys: [{{id: k, hash: '{HASH}'}}]", "1:8: keys[0].tenant: is missing; write `tenant: ...`"),
        (f"keys: [{{id: k, hash: '{HASH}', tenant: t, rights: [admn]}}]", "1:117: keys[0].rights[0]: 'admn' is not"),
        (f"keys: [{{id: k, hash: '{HASH}', tenant: t, feature: suport}}]",
         "1:117: keys[0].feature: there is no feature 'suport'; did you mean 'support'?"),
        (f"keys: [{{id: k, hash: '{HASH}', tenant: t, expires: 2027-02-30}}]",
         "1:117: keys[0].expires: '2027-02-30' is not a date; write it as YYYY-MM-DD"),
        (f"keys:\n  - {{id: k, hash: '{HASH}', tenant: t}}\n  - {{id: l, hash: '{HASH}', tenant: t}}",
         "3:19: keys[1].hash: this hash is on line 11 already; keep one"),
        (f"keys:\n  - {{id: k, hash: '{HASH}', tenant: t}}\n  - {{id: k, hash: '{HASH[:-1]}b', tenant: t}}",
         "3:10: keys[1].id: this key is on line 11 already; keep one"),
    ],
)  # fmt: skip
def test_a_bad_value_is_found_with_its_line_and_column(tmp_path: Path, extra: str, finding: str) -> None:
    found = only_finding(tmp_path, extra + "\n")

    assert found.startswith(finding)


@pytest.mark.parametrize(
    ("old", "new", "finding"),
    [
        ("kind: vllm", "kind: vlm", "2:15: providers.box.kind: 'vlm' is not possible here;"),
        ("{kind: vllm}", "{}", "2:8: providers.box.kind: is missing;"),
        ("kind: vllm", "kind: openai", "2:8: providers.box.api_key: is missing; write api_key: ${OPENAI_API_KEY}"),
        ("kind: vllm", "kind: azure, api_key: none", "2:8: providers.box.base_url: is missing;"),
        (
            "kind: vllm",
            "kind: azure, api_key: none, base_url: 'https://h/openai/deployments/d'",
            "2:47: providers.box.base_url: needs a version;",
        ),
        ("kind: vllm", "kind: vllm, base_url: 'ftp://h'", "2:31: providers.box.base_url: 'ftp://h' is not an address;"),
        ("kind: vllm", "kind: vllm, base_url: 'http://u:p@h'", "2:31: providers.box.base_url: the address holds"),
        ("kind: vllm", "kind: vllm, base_url: 'http://h/?a=1'", "2:31: providers.box.base_url: 'http://h/?a=1' holds"),
        ("kind: vllm", "kind: vllm, headers: {host: h}", "2:31: providers.box.headers.host: 'host' cannot be used"),
        ("kind: vllm", "kind: vllm, headers: {a: \"x\\ny\"}", "2:34: providers.box.headers.a: the text has control"),
        ("name: small", "name: large", "6:11: tiers[1].name: this tier is on line 4 already; keep one"),
        ("[{provider: box, model: big}]", "[]", "7:18: tiers[1].deployments: the tier has no deployment;"),
        ("reference: large", "reference: larg", "8:37: tasks.sums.reference: there is no tier 'larg'; did you mean"),
        ("bar: 0.9", "bar: 90", "8:21: tasks.sums.bar: '90' is out of range; write a decimal number above 0 up to 1"),
        ("[small]", "[large]", "8:57: tasks.sums.candidates[0]: is not cheaper than the reference;"),
        ("[small]", "[small, small]", "8:64: tasks.sums.candidates[1]: this candidate is on line 8 already;"),
        ("{support: {}}", "{support: {task: sum}}", "9:28: features.support.task: there is no task 'sum'; did"),
        ("{support: {}}", "{support: {policy: fixed}}", "9:21: features.support.tier: is missing;"),
        ("{support: {}}", "{support: {tier: small}}", "9:28: features.support.tier: only the policy fixed uses"),
        ("{support: {}}", "{support: {policy: canry}}",
         "9:30: features.support.policy: there is no policy 'canry'; did you mean 'canary'?"),
        ("{support: {}}", "{support: {policy: latency_bound}}",
         "9:30: features.support.policy: there is no policy 'latency_bound'; "),
        (", candidates: [small]}}\nfeatures: {support: {}}", "}}\nfeatures: {support: {task: sums, policy: canary}}",
         "9:42: features.support.policy: a canary needs candidates, and the task sums has none; list them under"),
        (", candidates: [small]}}\nfeatures: {support: {}}", "}}\nfeatures: {support: {policy: canary}}",
         "9:30: features.support.policy: a canary needs candidates, and no task has any; list them under"),
        ("{support: {}}", "{support: {policy: a}}\npolicies: {a: {kind: budget_aware, then: b}, "
         "b: {kind: latency_bound, p95: 2s, then: a}}", "10:42: policies.a.then: it asks itself: a -> b -> a;"),
        ("{support: {}}", "{support: {task: sums, policy: a}}\npolicies: {a: {kind: cascade, tier: large}}",
         "9:42: features.support.policy: a cascade from the reference large to itself; name a candidate of sums"),
        ("{support: {}}", "{support: {task: sums, policy: shadow}}",
         "9:42: features.support.policy: what a shadow asks is paid by the feature farthing-shadow; declare it"),
        ("{support: {}}", "{support: {task: sums, policy: shadow}}",
         "9:42: features.support.policy: a shadow needs graded answers, and nobody grades; write live"),
        ("{support: {}}", "{support: {task: sums, policy: canary}}",
         "9:42: features.support.policy: a canary needs graded answers, and nobody grades; write live"),
        ("candidates: [small]", "check: {regex: '(a'}", "8:59: tasks.sums.check.regex: '(a' is not a pattern"),
        ("candidates: [small]", "check: {min_chars: 5, max_chars: 4}", "8:77: tasks.sums.check.max_chars: '4' is"),
        ("{support: {}}", "{unregistered: {}}", "9:12: features.unregistered: is the name for calls of unknown"),
    ],
)  # fmt: skip
def test_a_bad_routing_value_is_found_with_its_line_and_column(
    tmp_path: Path, old: str, new: str, finding: str
) -> None:
    assert old in BASE

    found = findings_of(tmp_path, BASE.replace(old, new, 1))

    mine = [one for one in found if one.startswith(finding)]
    assert len(mine) == 1, found


@pytest.mark.parametrize("sign", ["|", ",", "="])
@pytest.mark.parametrize(
    ("field", "extra"),
    [
        ("budgets[0].id", "budgets: [{id: NAME, limit_usd: 1, window: day}]"),
        ("budgets[0].where.run", "budgets: [{id: b, limit_usd: 1, window: day, where: {run: NAME}}]"),
        ("keys[0].id", "keys: [{id: NAME, tenant: t, hash: HASH}]"),
        ("keys[0].tenant", "keys: [{id: k, tenant: NAME, hash: HASH}]"),
        ("keys[0].team", "keys: [{id: k, tenant: t, team: NAME, hash: HASH}]"),
        ("keys[0].environment", "keys: [{id: k, tenant: t, environment: NAME, hash: HASH}]"),
        ("features.support.team", "{support: {team: NAME}}"),
        ("features.NAME", "{support: {}, NAME: {}}"),
        ("tasks.NAME", "{support: {}}\ntasks: {NAME: {bar: 0.9, reference: large}}"),
    ],
)
def test_no_name_may_hold_a_sign_of_which_account_ids_are_made(
    tmp_path: Path, sign: str, field: str, extra: str
) -> None:
    name = f"'a{sign}b'"
    base = BASE.replace("tasks: {sums: {bar: 0.9, reference: large, candidates: [small]}}\n", "")
    if extra.startswith("{"):
        base = base.replace("{support: {}}\n", "")

    (found,) = findings_of(tmp_path, base + extra.replace("NAME", name).replace("HASH", f"'{HASH}'") + "\n")

    _, _, rest = found.partition(": ")
    assert rest.startswith(f"{field.replace('NAME', name)}: {name} cannot be used here; write 1 to 128 letters, digits")


def test_all_findings_come_at_once_and_in_order(tmp_path: Path) -> None:
    found = findings_of(
        tmp_path,
        BASE + "server: {port: x}\nlogging: {level: chatty}\naliases: {a: tier/none}\ndata_dir: ${NOWHERE}\n",
    )

    assert [one.split(" ")[1] for one in found] == ["server.port:", "logging.level:", "aliases.a:", "data_dir:"]


def test_the_error_is_a_config_error_whose_message_lists_every_finding(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("servr: {}\nlogin: {}\n")

    with pytest.raises(ConfigError) as caught:
        load(tmp_path, {})

    assert caught.value.message.startswith("The configuration has 2 findings:\n  ")
    assert f"{tmp_path}/a.yaml:1:1: servr: " in caught.value.message


def test_a_section_in_two_files_is_a_finding_that_names_both(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(BASE + "server: {port: 1}\n")
    (tmp_path / "b.yaml").write_text("\nserver: {port: 2}\n")

    with pytest.raises(SettingsError) as caught:
        load(tmp_path, {})

    assert [str(one) for one in caught.value.findings] == [
        f"{tmp_path}/b.yaml:2:1: server: this section is in {tmp_path}/a.yaml already (line 10); keep it in one file"
    ]


def test_a_broken_file_does_not_make_its_names_look_unknown(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(BASE.replace("  box: {kind: vllm}", "  box: {kind: vllm"))
    (tmp_path / "b.yaml").write_text("budgets: [{id: b, limit_usd: 1, window: day, where: {feature: support}}]\n")

    with pytest.raises(SettingsError) as caught:
        load(tmp_path, {})

    (finding,) = caught.value.findings
    assert "not valid YAML" in str(finding)
    assert finding.place.line == 3


@pytest.mark.parametrize(
    ("data", "finding"),
    [
        (b"server: {host: \xff}\n", "1:16: the file is not UTF-8 text;"),
        (b"a: 1\nb: \x00\n", "2:4: a control character is not allowed here;"),
        (b"%TAG ! tag:x,2000:\n---\nserver: {}\n", "1:1: YAML directives (%) are not allowed;"),
        (b"- a\n", "1:1: a file holds named sections, such as `server:`"),
        (b"text\n", "1:1: a file holds named sections, such as `server:`"),
        (b"server: [\n", "2:1: not valid YAML: while parsing a flow node, did not find expected node content;"),
        (b"a:\n\t- b\n", "2:1: not valid YAML: while scanning for the next token, found character that cannot start"),
        (b"#" * (1024 * 1024 + 1), "the file is larger than 1 MiB;"),
        (b"[" * 100_000, "1:26: [0][0][0]: too deep or too many values for a configuration file"),
        (b"a: [" + b"1," * 60_000 + b"]", "too deep or too many values"),
        (b'a: "\\ud800"', "1:7: not valid YAML: while parsing a quoted scalar, found invalid Unicode character escape"),
        (b"", "1:1: tiers: there is no model to call; declare providers and tiers"),
    ],
)  # fmt: skip
def test_a_hostile_or_broken_file_is_a_finding(tmp_path: Path, data: bytes, finding: str) -> None:
    found = findings_of(tmp_path, data)

    assert any(finding in one for one in found), found


def test_an_alias_bomb_is_refused_without_being_built(tmp_path: Path) -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for name, above in zip("bcdefghi", "abcdefgh", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{above}'] * 9)}]")

    found = findings_of(tmp_path, "\n".join(lines))

    assert any(one.startswith("1:4: a: YAML anchors (&name) are not allowed;") for one in found)
    assert any("YAML aliases (*name) are not allowed" in one for one in found)


@pytest.mark.parametrize("wrong", ["{a: b}", "[a]", "null", "1", "2.5", "true"])
def test_a_value_of_the_wrong_shape_anywhere_is_a_finding_and_no_crash(tmp_path: Path, wrong: str) -> None:
    full = (
        BASE.replace("{support: {}}", "{support: {team: t, task: sums, policy: fixed, tier: small}}")
        + f"keys: [{{id: k, hash: '{HASH}', tenant: t, feature: support, task: sums, features: [support]}}]\n"
        + "budgets: [{id: b, limit_usd: 1, window: day, where: {team: t, feature: support}, per: [run]}]\n"
        + "prices: [{provider: box, model: tiny, input_per_mtok: 1, output_per_mtok: 1}]\n"
        + "models: {embed: [{provider: box, model: e}]}\naliases: {a: auto}\ndefault_tier: large\n"
        + "server: {host: h, port: 1}\nevals: {feature: support}\n"
    )
    patterns = (r"(?<=: )[^ ,{}\[\]\n]+", r"(?<=\[)\w+", r"\[[^\[\]]*\]", r"\{[^{}]*\}", r"(?<=\w: )\{.*\}")
    values = sorted({found.span() for pattern in patterns for found in re.finditer(pattern, full)})
    outcomes = []
    file = tmp_path / "farthing.yaml"

    for start, end in values:
        file.write_text(full[:start] + wrong + full[end:])
        try:
            load(file, {})
        except SettingsError as error:
            outcomes.append(error)

    assert len(values) > 40
    assert len(outcomes) > len(values) / 2


def test_the_list_of_findings_is_bounded(tmp_path: Path) -> None:
    found = findings_of(tmp_path, "".join(f"setting{number}: 1\n" for number in range(5000)))

    assert len(found) <= MOST_FINDINGS + 1


@pytest.mark.parametrize("name", ["farthing.yml", "missing-directory/x"])
def test_what_would_not_be_read_is_a_finding(tmp_path: Path, name: str) -> None:
    path = tmp_path if name.endswith(".yml") else tmp_path / name
    if name.endswith(".yml"):
        (tmp_path / name).write_text(BASE)

    with pytest.raises(SettingsError) as caught:
        load(path, {})

    assert "rename it to end in .yaml" in str(caught.value) or "does not exist" in str(caught.value)


def test_an_empty_directory_is_a_finding(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"holds no \*\.yaml file"):
        load(tmp_path, {})


def test_known_names_stay_on_one_line_whatever_they_are() -> None:
    assert suggestion("evals", ["a", "\n"]) == "known here: '\\n', a"


@pytest.mark.parametrize("feature", ["farthing-shadow", "farthing-cache"])
def test_what_the_gateway_spends_itself_needs_a_cap(tmp_path: Path, feature: str) -> None:
    tree = BASE.replace("features: {support: {}}", f"features: {{{feature}: {{}}}}")
    budget = f"budgets: [{{id: own, limit_usd: 1, window: day, where: {{feature: {feature}}}}}]\n"

    (finding,) = findings_of(tmp_path, tree)
    (tmp_path / "farthing.yaml").write_text(tree + budget)
    load(tmp_path / "farthing.yaml", {})

    assert f"features.{feature}: has no cap; add a budget with where: {{feature: {feature}}}" in finding
