"""The containers as far as they can be held without any: linted, parsed, and one with what `make stack` runs in tests."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from geoloc_core.line.project import SOURCE_ROOT
from geoloc_dagster.op_tags import GPU
from geoloc_dagster.stack.postgres import DATABASES, USER

DOCKER = SOURCE_ROOT / "docker"
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("mlflow", "code", "webserver", "daemon")


def instructions() -> list[str]:
    text = (DOCKER / "Dockerfile").read_text().replace("\\\n", " ")
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def test_the_dockerfile_passes_its_linter() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    if not linter.is_file() and not shutil.which("hadolint"):
        pytest.skip("hadolint is not installed; `make setup` brings it")
    command = [str(linter) if linter.is_file() else "hadolint", "--failure-threshold", "info", DOCKER / "Dockerfile"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_has_a_cpu_and_a_cuda_target_that_run_as_nobody_of_importance() -> None:
    lines = instructions()
    stages = [line.split()[-1] for line in lines if line.startswith("FROM ")]
    assert stages == ["base", "cpu", "cuda"]
    users = [line for line in lines if line.startswith("USER ")]
    assert users == ["USER 10001:10001"], "set once, after the last command that needs root"
    last_root = max(number for number, line in enumerate(lines) if "apt-get" in line)
    assert lines.index(users[0]) > last_root


def test_what_is_installed_is_what_the_makefile_installs_from_the_pinned_list() -> None:
    installs = [line for line in instructions() if line.startswith("RUN") and ("pip" in line or "make" in line)]
    assert [re.search(r"make setup EXTRAS=\S+", line) is not None for line in installs if "apt-get" not in line] == [
        True,
        True,
    ]
    makefile = (SOURCE_ROOT / "Makefile").read_text()
    assert "--constraint constraints.txt --editable '.[$(EXTRAS)]'" in makefile
    bases = re.findall(r"^ARG PYTHON_IMAGE=(\S+)", (DOCKER / "Dockerfile").read_text(), re.MULTILINE)
    images = [service["image"] for name, service in SERVICES.items() if name not in OURS]
    for image in [*bases, *images]:
        assert re.search(r":\d+\.\d+(\.\d+)?-", image), f"{image} is not pinned to a release"


def test_nothing_is_published_but_on_loopback() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"mlflow", "webserver"}
    for ports in published.values():
        for port in ports:
            assert port.startswith("127.0.0.1:"), port


def test_every_service_has_a_health_check_a_user_and_no_privileges() -> None:
    assert set(SERVICES) == {"postgres", *OURS}
    for name, service in SERVICES.items():
        assert service["healthcheck"]["test"], name
        assert str(service["user"]).split(":")[0] not in {"root", "0", ""}, name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        for dependency in service.get("depends_on", {}).values():
            assert dependency == {"condition": "service_healthy"}, name


def test_the_password_comes_from_the_environment_and_has_no_default() -> None:
    text = (DOCKER / "compose.yaml").read_text()
    uses = re.findall(r"\$\{GEOLOC_POSTGRES_PASSWORD([^}]*)\}", text)
    assert len(uses) == 3
    assert all(use.startswith(":?") for use in uses), "compose refuses to start without it"
    for service in SERVICES.values():
        assert not any("PASSWORD" in str(part) for part in service.get("command", [])), "no secret in a command line"


def test_all_state_lies_in_named_volumes() -> None:
    named = set(COMPOSE["volumes"])
    used = set()
    for name, service in SERVICES.items():
        for volume in service["volumes"]:
            source, _, rest = volume.partition(":")
            if source.startswith("./"):
                assert rest.endswith(":ro"), f"{name}: {volume} is a setting, and settings are not written"
                assert (DOCKER / source).is_file(), volume
            else:
                used.add(source)
    assert used == named == {"postgres", "data", "dagster", "artifacts"}


def test_the_settings_are_those_of_the_project_with_postgres_beside_them() -> None:
    ours = yaml.safe_load((SOURCE_ROOT / "dagster.yaml").read_text())
    theirs = yaml.safe_load((DOCKER / "dagster.yaml").read_text())
    database = theirs.pop("storage")["postgres"]["postgres_db"]
    assert theirs == ours
    asked = {value["env"] for value in database.values() if isinstance(value, dict)}
    location = yaml.safe_load((DOCKER / "workspace.yaml").read_text())["load_from"][0]["grpc_server"]
    asked |= {location["host"]["env"], location["port"]["env"]}
    for name in ("code", "webserver", "daemon"):
        given = SERVICES[name]["environment"]
        assert asked <= set(given), f"{name} lacks {asked - set(given)}"
        assert given["DAGSTER_POSTGRES_USER"] == USER == SERVICES["postgres"]["environment"]["POSTGRES_USER"]
    assert {SERVICES["postgres"]["environment"]["POSTGRES_DB"], "mlflow"} == set(DATABASES)
    assert "CREATE DATABASE mlflow;" in (DOCKER / "create-databases.sql").read_text()


def test_the_gpu_is_given_to_the_service_whose_processes_use_it() -> None:
    override = yaml.safe_load((DOCKER / "compose.gpu.yaml").read_text())["services"]
    (name,) = override
    assert name == "code"
    (device,) = override[name]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]


def test_the_helm_values_name_our_image_database_and_engine() -> None:
    values = yaml.safe_load((DOCKER / "helm-values.yaml").read_text())
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    environment = {entry["name"]: entry["value"] for entry in deployment["env"]}
    assert environment["GEOLOC_EXECUTOR"] == "k8s"
    assert "geoloc_dagster.definitions" in deployment["dagsterApiGrpcArgs"]
    mounts = {mount["mountPath"] for mount in deployment["volumeMounts"]}
    assert environment["GEOLOC_HOME"] in mounts
    assert values["runLauncher"]["type"] == "K8sRunLauncher"
    assert "postgresqlPassword" not in str(values), "the password comes from a Kubernetes secret"
    # The GPU is asked for step by step, by op_tags.py; a whole deployment that holds one would keep it idle.
    assert "nvidia.com/gpu" not in str(deployment.get("resources", {}))
    assert GPU["dagster-k8s/config"]["container_config"]["resources"]["limits"] == {"nvidia.com/gpu": "1"}
