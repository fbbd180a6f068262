"""What a page of another site can do to the webserver of its visitor: wipe assets of Dagster's own, and nothing to ours."""

import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import NamedTuple
from urllib.parse import urlencode

import dagster as dg
import pytest

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Page, expect

from geoloc_dagster.ui import free_port
from tests.browser.conftest import PATIENCE_S, Ui
from tests.servers import answers, ask, stop, wait_until

WIPE = """mutation { wipeAssets(assetPartitionRanges: [{assetKey: {path: ["%s"]}}]) { __typename } }"""
KNOWN = """{ assetsOrError { ... on AssetConnection { nodes { key { path } assetMaterializations(limit: 1) { runId } } } } }"""
# Three ways to wipe an asset, and a look at what a subscription says. `wiped` are the addresses of the mutations.
HOSTILE = """<!doctype html><title>a page of another site</title>
<a id="link" href="{target}/assets">an honest link</a>
<iframe name="frame"></iframe>
<form method="post" enctype="text/plain" target="frame" action="{form}"><input name="x" value="y"></form>
<iframe id="framed" src="{target}/assets"></iframe>
<script>
  const loaded = (element, start) => new Promise(done => {{ element.onload = element.onerror = done; start(); }});
  const image = new Image(), form = document.forms[0];
  const socket = new WebSocket("{target}/graphql".replace("http", "ws"), "graphql-ws");
  const heard = new Promise(done => {{
    socket.onopen = () => socket.send('{{"type": "connection_init"}}');
    socket.onmessage = message => done(message.data);
    socket.onerror = () => done("refused");
  }});
  window.attack = async () => {{
    await loaded(image, () => image.src = "{image}");
    await loaded(document.getElementsByName("frame")[0], () => form.submit());
    const type = {{"Content-Type": "text/plain; application/json"}};
    const body = JSON.stringify({{query: `{fetch}`}});
    await fetch("{target}/graphql", {{method: "POST", mode: "no-cors", headers: type, body}}).catch(() => null);
    return await heard;
  }};
</script>"""


class Assets(NamedTuple):
    """One asset for each way to wipe it."""

    image: str
    form: str
    fetch: str


@contextmanager
def hostile_page(target: str, assets: Assets) -> Iterator[int]:
    """A server with the page above; its port."""
    wiped = {name: f"{target}/graphql?{urlencode({'query': WIPE % asset})}" for name, asset in assets._asdict().items()}
    content = HOSTILE.format(target=target, **{**wiped, "fetch": WIPE % assets.fetch}).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def known(address: str) -> set[str]:
    """The assets that the instance has a materialization of."""
    nodes = ask(address, KNOWN)["assetsOrError"]["nodes"]
    return {node["key"]["path"][0] for node in nodes if node["assetMaterializations"]}


@contextmanager
def webserver(module: str, home: Path) -> Iterator[str]:
    """The address of a webserver on an instance, without any code."""
    port, log = free_port(3700), home / f"{module}.log"
    command = [sys.executable, "-m", module, "--port", str(port), "--empty-workspace"]
    with log.open("wb") as output:
        environment = {**os.environ, "DAGSTER_HOME": str(home)}
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: answers(f"{address}/server_info"), process, log, PATIENCE_S)
        yield address
    finally:
        stop(process)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The folder of an instance that knows three assets."""
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\nnux: {enabled: false}\n")
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        for asset in Assets._fields:
            instance.report_runless_asset_event(dg.AssetMaterialization(asset))
    return tmp_path


# Another port is another origin; under another name it is another site as well.
@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_the_attacks_are_real_and_the_guard_stops_them(page: Page, home: Path, name: str) -> None:
    assets = Assets(*Assets._fields)
    with webserver("geoloc_dagster.guard", home) as address, hostile_page(address, assets) as port:
        page.goto(f"http://{name}:{port}")
        assert page.evaluate("attack()") == "refused"
        assert known(address) == set(assets)
    with webserver("dagster_webserver", home) as address, hostile_page(address, assets) as port:
        page.goto(f"http://{name}:{port}")
        assert "connection_ack" in page.evaluate("attack()"), "without the guard a page hears subscriptions"
        assert known(address) == set(), "without the guard a page wipes assets, by each of the three ways"


def test_the_ui_is_guarded_and_can_be_linked_to(page: Page, ui: Ui) -> None:
    assets = Assets("regions", "training_photos", "class_distribution")
    before = known(ui.address)
    assert set(assets) <= before
    with hostile_page(ui.address, assets) as port:
        page.goto(f"http://localhost:{port}")
        assert page.evaluate("attack()") == "refused"
        framed = next(frame for frame in page.frames if frame.parent_frame and frame.name != "frame")
        assert "Catalog" not in framed.content(), "a click of the visitor could be led to a button in a frame"
        page.locator("#link").click()
        expect(page.get_by_text("class_distribution", exact=True).first).to_be_visible()
    assert known(ui.address) == before
    # A foreign name that leads to this machine (DNS rebinding) makes the page's origin ours.
    rebound = urllib.request.Request(ui.address, headers={"Host": "evil.test"})
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(rebound, timeout=60)
