"""The image and the compose file, as far as they can be judged without an engine."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SERVICES = {"gateway", "redis", "postgres", "prometheus", "alertmanager", "grafana"}


def dockerfile_steps() -> list[tuple[str, str]]:
    """(instruction, rest) of each step, continued lines joined."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in joined.splitlines()]


def steps(instruction: str) -> list[str]:
    return [rest for name, rest in dockerfile_steps() if name == instruction]


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    return loaded


def is_pinned(image: str) -> bool:
    """True where the tag or digest names a version."""
    return bool(re.search(r"(:v?\d[\w.-]*|@sha256:[0-9a-f]{64})$", image))


def test_every_base_image_is_pinned() -> None:
    bases = [rest.split()[0] for rest in steps("FROM")]

    assert len(bases) == 2
    assert all(is_pinned(base) for base in bases)


def test_the_image_runs_as_a_user_that_is_not_root() -> None:
    last = max(number for number, (name, _) in enumerate(dockerfile_steps()) if name == "FROM")

    users = [rest for name, rest in dockerfile_steps()[last:] if name == "USER"]

    assert users == ["10001:10001"]


def test_the_image_has_a_health_check_on_its_own_port() -> None:
    (check,) = steps("HEALTHCHECK")

    assert "http://127.0.0.1:4141/healthz" in check
    assert steps("EXPOSE") == ["4141"]


def test_the_image_starts_the_gateway_on_the_mounted_config() -> None:
    assert steps("ENTRYPOINT") == ['["farthing", "serve", "--config", "/etc/farthing"]']
    assert steps("VOLUME") == ["/var/lib/farthing"]


def test_the_image_fetches_nothing_but_locked_packages() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")

    assert steps("ADD") == []
    assert not re.search(r"\b(curl|wget|apt-get|git clone)\b", text)
    for command in re.findall(r"install --no-deps[^;&]*", text.replace("\\\n", " ")):
        assert "--require-hashes" in command or "--no-index" in command


def test_the_image_holds_no_extra_unless_it_is_asked_for() -> None:
    assert steps("ARG") == ['EXTRAS=""']
    assert "for lock in base ${EXTRAS}" in " ".join(steps("RUN"))


def test_the_image_build_fails_on_files_that_start_with_python() -> None:
    assert any("-I -S scripts/startup_files.py /opt/farthing" in step for step in steps("RUN"))


def test_the_build_context_holds_every_package_and_nothing_unnamed() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    packages = {file.parent.name for file in ROOT.glob("*/__init__.py")} - {"bench", "boards", "tests", "train"}

    allowed = {line.removeprefix("!") for line in lines if line.startswith("!")}

    assert next(line for line in lines if line and not line.startswith("#")) == "*"
    assert packages | {"pyproject.toml", "README.md", "LICENSE", "requirements/*.txt"} <= allowed


def test_compose_has_the_gateway_and_the_five_engines() -> None:
    assert set(compose()["services"]) == SERVICES


@pytest.mark.parametrize("name", sorted(SERVICES))
class TestService:
    def test_its_image_is_pinned(self, name: str) -> None:
        assert is_pinned(compose()["services"][name]["image"])

    def test_it_has_a_health_check(self, name: str) -> None:
        assert compose()["services"][name]["healthcheck"]["test"]

    def test_its_ports_are_on_loopback_only(self, name: str) -> None:
        ports = compose()["services"][name]["ports"]

        assert ports
        assert all(port.startswith("127.0.0.1:") for port in ports)

    def test_its_mounted_paths_exist_and_are_read_only(self, name: str) -> None:
        mounts = [mount.split(":") for mount in compose()["services"][name]["volumes"]]
        paths = [mount for mount in mounts if mount[0].startswith(".")]

        assert all((ROOT / mount[0]).exists() for mount in paths)
        assert all(mount[-1] == "ro" for mount in paths)

    def test_its_data_is_on_a_named_volume(self, name: str) -> None:
        mounts = [mount.split(":")[0] for mount in compose()["services"][name]["volumes"]]
        named = [mount for mount in mounts if not mount.startswith(".")]

        assert len(named) == 1
        assert named[0] in compose()["volumes"]

    def test_its_secrets_come_from_the_environment(self, name: str) -> None:
        environment = compose()["services"][name].get("environment", {})

        secrets = {key: value for key, value in environment.items() if re.search("PASSWORD|KEY|TOKEN", key)}

        assert all(re.match(r"\$\{\w+:[-?]", value) for value in secrets.values())


def test_compose_gives_the_gateway_every_variable_that_its_config_requires() -> None:
    lines = [line for file in ROOT.glob("config/*.yaml") for line in file.read_text(encoding="utf-8").splitlines()]
    required = {name for line in lines if "#" not in line for name in re.findall(r"\$\{(\w+)\}", line)}

    assert required
    assert required <= compose()["services"]["gateway"]["environment"].keys()


def test_prometheus_scrapes_the_port_that_the_image_exposes() -> None:
    config = yaml.safe_load((ROOT / "config/prometheus/prometheus.yml").read_text(encoding="utf-8"))

    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in config["scrape_configs"]}

    assert targets["farthing"] == [f"gateway:{steps('EXPOSE')[0]}"]


def test_grafana_reads_the_prometheus_of_compose() -> None:
    file = ROOT / "config/grafana/provisioning/datasources/prometheus.yaml"

    (source,) = yaml.safe_load(file.read_text(encoding="utf-8"))["datasources"]

    assert source["url"] == "http://prometheus:9090"
    assert source["uid"] == "prometheus"


def test_grafana_shows_the_boards_at_once() -> None:
    file = ROOT / "config/grafana/provisioning/dashboards/farthing.yaml"
    mounts = dict(mount.split(":")[:2] for mount in compose()["services"]["grafana"]["volumes"])

    (provider,) = yaml.safe_load(file.read_text(encoding="utf-8"))["providers"]

    assert mounts["./config/grafana/dashboards"] == provider["options"]["path"]
    assert mounts["./config/grafana/provisioning"] == "/etc/grafana/provisioning"
