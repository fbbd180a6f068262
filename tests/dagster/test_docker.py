"""What can be checked of the containers without running one."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from geoloc_core.line.project import SOURCE_ROOT
from geoloc_dagster.executors import CHOICES

DOCKER = SOURCE_ROOT / "docker"
TEXT = (DOCKER / "compose.yaml").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)["services"]
OURS = {name: service for name, service in SERVICES.items() if name != "postgres"}


def test_the_dockerfile_passes_its_linter() -> None:
    linter = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:/usr/bin:/usr/local/bin")
    assert linter, "`make setup` installs hadolint"
    done = subprocess.run(
        [linter, "--failure-threshold", "info", DOCKER / "Dockerfile"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", OURS)
def test_the_commands_of_the_services_exist(name: str) -> None:
    program, *arguments = OURS[name]["command"]
    assert Path(sys.executable).with_name(program).is_file()
    # A command line of the same program and options is in the Procfile, which the stack's test runs.
    (line,) = [text for text in (DOCKER / "Procfile").read_text().splitlines() if text.startswith(f"{name}: ")]
    assert set(re.findall(r"--[a-z-]+", " ".join(arguments))) - {"--allowed-hosts"} <= set(
        re.findall(r"--[a-z-]+", line)
    )


def test_ports_users_secrets_and_volumes() -> None:
    assert all(port.startswith("127.0.0.1:") for service in SERVICES.values() for port in service.get("ports", ()))
    for name, service in SERVICES.items():
        assert service["user"].split(":")[0] not in {"root", "0"}, name
        assert service["cap_drop"] == ["ALL"], name
        assert "PASSWORD" not in str(service.get("command")), name
    # Compose refuses to start without the password.
    assert set(re.findall(r"\$\{GEOLOC_POSTGRES_PASSWORD(..)", TEXT)) == {":?"}
    sources = {str(volume).split(":")[0] for service in SERVICES.values() for volume in service["volumes"]}
    assert all((DOCKER / source).is_file() for source in sources if source.startswith("./"))
    assert {source for source in sources if not source.startswith("./")} == set(yaml.safe_load(TEXT)["volumes"])


def test_the_settings_are_the_projects_and_each_variable_is_given_and_read() -> None:
    settings = yaml.safe_load((DOCKER / "dagster.yaml").read_text())
    database = settings.pop("storage")["postgres"]["postgres_db"]
    assert settings == yaml.safe_load((SOURCE_ROOT / "dagster.yaml").read_text())
    server = yaml.safe_load((DOCKER / "workspace.yaml").read_text())["load_from"][0]["grpc_server"]
    named = {value["env"] for value in [*database.values(), *server.values()] if isinstance(value, dict)}
    code = "".join(path.read_text() for path in SOURCE_ROOT.glob("geoloc_*/**/*.py"))
    for name in ("code", "webserver", "daemon"):
        given = set(SERVICES[name]["environment"])
        assert named <= given, f"{name} lacks {named - given}"
        assert all(re.search(rf"""['"]{variable}['"]""", code) for variable in given - named), name


def test_the_helm_values_name_an_engine_of_ours() -> None:
    values = yaml.safe_load((DOCKER / "helm-values.yaml").read_text())
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    environment = {entry["name"]: entry["value"] for entry in deployment["env"]}
    assert environment["GEOLOC_EXECUTOR"] in CHOICES
    assert environment["GEOLOC_HOME"] in {mount["mountPath"] for mount in deployment["volumeMounts"]}
