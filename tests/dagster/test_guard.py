"""Who is answered by the guarded webserver, and which project its runs may work on."""

import asyncio
import os
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from geoloc_core.errors import InputError
from geoloc_dagster.cli import main
from geoloc_dagster.definitions import defs
from geoloc_dagster.failures import failure_of
from geoloc_dagster.guard import Guard, allowed_hosts, refusal
from geoloc_dagster.refresh import Jobs
from geoloc_dagster.requests import chosen_project
from geoloc_dagster.resources import ProjectResource, configured
from tests.conftest import ProjectMaker

HOST = "127.0.0.1:3000"
OWN = {"origin": f"http://{HOST}", "sec-fetch-site": "same-origin"}
# As Chromium sends them.
LINK = {
    "sec-fetch-site": "cross-site",
    "sec-fetch-mode": "navigate",
    "sec-fetch-dest": "document",
    "accept": "text/html",
}
IMAGE = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image", "accept": "image/*"}


def scope(method: str = "GET", path: str = "/assets", host: str = HOST, **headers: str) -> dict[str, Any]:
    """A request; `method` WS is a WebSocket."""
    named = {"host": host, **{name.replace("_", "-"): text for name, text in headers.items()}}
    kind = {"type": "websocket"} if method == "WS" else {"type": "http", "method": method}
    return {**kind, "path": path, "headers": [(name.encode(), text.encode()) for name, text in named.items()]}


HOSTS = {"127.0.0.1", "localhost", "[::1]", "geoloc.example.org"}
ANSWERED = [
    scope(),
    scope(host="localhost:8080"),
    scope(host="[::1]:3000"),
    scope(host="LOCALHOST"),
    scope(host="geoloc.example.org", sec_fetch_site="none"),
    scope("POST", "/graphql"),  # a program
    scope("POST", "/graphql", **OWN),
    # TLS ends at the proxy: the browser's scheme is not ours.
    scope("POST", "/graphql", "geoloc.example.org", origin="https://geoloc.example.org", sec_fetch_site="same-origin"),
    scope("WS", "/graphql", **OWN),
    scope("WS", "/graphql"),
    scope(**LINK),
    scope(path="/graphql", accept="text/html"),
    scope("HEAD", "/server_info"),
]
REFUSED = [
    scope(host="evil.test"),
    scope(host="evil.test", sec_fetch_site="same-origin", origin="http://evil.test"),  # DNS rebinding
    scope(host="127.0.0.1.evil.test"),
    scope(host="127.0.0.1@evil.test"),
    scope(host="127.0.0.1:3000:80"),
    scope(host=""),
    scope("WS", "/graphql", host="evil.test", origin="http://evil.test"),
    scope("POST", "/graphql", origin="http://evil.test"),
    scope("POST", "/graphql", origin="http://localhost:3000"),
    scope("POST", "/graphql", origin="http://127.0.0.1:8888", sec_fetch_site="same-site"),
    scope("POST", "/graphql", origin="null"),
    scope("POST", "/graphql", origin=""),
    scope("POST", "/graphql", **{**LINK, "origin": "null"}),  # a form
    scope("POST", "/graphql", **LINK),
    scope("OPTIONS", "/graphql", origin="http://evil.test"),
    scope("WS", "/graphql", origin="http://evil.test"),
    scope("WS", "/graphql", sec_fetch_site="cross-site"),
    scope(path="/graphql", **IMAGE),
    scope(path="/logs/a.out", **IMAGE),
    scope(**{**LINK, "sec-fetch-dest": "iframe"}),
    # No GET executes anything, whoever asks.
    scope(path="/graphql"),
    scope(path="/graphql/", **OWN),
    scope(path="/prefix/graphql", accept="*/*"),
]


@pytest.mark.parametrize("request_scope", ANSWERED, ids=lambda scope: f"{scope['headers']}")
def test_answered(request_scope: dict[str, Any]) -> None:
    assert refusal(request_scope, HOSTS) == ""


@pytest.mark.parametrize("request_scope", REFUSED, ids=lambda scope: f"{scope['headers']}")
def test_refused(request_scope: dict[str, Any]) -> None:
    assert refusal(request_scope, HOSTS)


def messages(request_scope: dict[str, Any]) -> list[dict[str, Any]]:
    """What a guarded application that answers everything sends."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"answer"})
        else:
            await send({"type": f"{scope['type']}.accept"})

    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(Guard(application, HOSTS)(request_scope, None, send))  # type: ignore[arg-type]
    return sent


def test_what_is_refused_never_reaches_the_application() -> None:
    start, body = messages(scope())
    assert (start["status"], body["body"]) == (200, b"answer")
    assert {(b"x-frame-options", b"SAMEORIGIN"), (b"cross-origin-resource-policy", b"same-origin")} <= set(
        start["headers"]
    )
    start, body = messages(scope(host="evil.test"))
    assert start["status"] == 403
    assert body["body"].endswith(b"list the name in GEOLOC_ALLOWED_HOSTS\n")
    assert messages(scope("WS", "/graphql", **OWN)) == [{"type": "websocket.accept"}]
    (closed,) = messages(scope("WS", "/graphql", origin="http://evil.test"))
    assert (closed["type"], closed["code"]) == ("websocket.close", 1008)
    assert messages({"type": "lifespan"}) == [{"type": "lifespan.accept"}]


def test_hosts_are_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert allowed_hosts() == {"127.0.0.1", "localhost", "[::1]"}
    monkeypatch.setenv("GEOLOC_ALLOWED_HOSTS", "Geoloc.example.org, 10.0.0.7,")
    assert allowed_hosts() == {"127.0.0.1", "localhost", "[::1]", "geoloc.example.org", "10.0.0.7"}
    for wrong in ("https://geoloc.example.org", "*", "*.example.org", "geoloc.example.org:443"):
        monkeypatch.setenv("GEOLOC_ALLOWED_HOSTS", wrong)
        with pytest.raises(InputError, match="write names alone"):
            allowed_hosts()


@pytest.mark.parametrize("wrong", ["profile", "home"])
def test_run_config_chooses_no_other_project(
    make_project: ProjectMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    project, other = make_project(tmp_path / "ours"), make_project(tmp_path / "other")
    asked = {"profile": str(project.profile_path), "home": str(project.home)}
    with configured(project):
        assert ProjectResource(**asked).open().home == ProjectResource().open().home == project.home
        asked[wrong] = {"profile": str(other.profile_path), "home": str(other.home)}[wrong]
        with pytest.raises(InputError, match=f"names the {wrong} .*/other/.*leave `{wrong}` out"):
            ProjectResource(**asked).open()
    # A path is compared before anything is read from it.
    monkeypatch.setenv("GEOLOC_PROFILE", str(project.profile_path))
    with pytest.raises(InputError, match="names the profile"):
        ProjectResource(profile=str(tmp_path / "nothing.yaml")).open()
    monkeypatch.delenv("GEOLOC_PROFILE")
    assert ProjectResource(profile=str(other.profile_path), home=str(other.home)).open().home == other.home


@pytest.mark.slow
def test_a_run_that_names_another_home_fails_and_the_command_line_chooses_freely(
    make_project: ProjectMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, other = make_project(tmp_path / "ours"), make_project(tmp_path / "other")
    monkeypatch.setenv("GEOLOC_HOME", str(other.home))
    assert main(["run", "regions", "--profile", str(project.profile_path), "--home", str(project.home)]) == 0
    assert project.layout.regions.is_file()
    assert os.environ["GEOLOC_HOME"] == str(other.home)
    with configured(project), dg.DagsterInstance.ephemeral() as instance:
        result = (
            Jobs(defs)
            .of("regions")
            .execute_in_process(run_config=chosen_project(other), instance=instance, raise_on_error=False)
        )
    assert failure_of(result.all_events) == (
        "InputError",
        f"the run's configuration names the profile {other.profile_path}, but this deployment works on "
        f"{project.profile_path}; leave `profile` out of the configuration, or start another deployment for it",
    )
    assert not other.home.exists()
