"""Servers of ours as processes of a test: wait until they answer, ask them, stop them."""

import json
import os
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")


def wait_until(done: Callable[[], Result | None], process: subprocess.Popen[bytes], log: Path, seconds: int) -> Result:
    """What `done` gives as soon as it gives anything; an error when the process ends first, or the time is over."""
    deadline = time.monotonic() + seconds
    while not (result := done()):
        end = log.read_text(errors="replace")[-3000:]
        assert process.poll() is None, f"the process ended with status {process.returncode}:\n{end}"
        assert time.monotonic() < deadline, f"nothing came within {seconds} s:\n{end}"
        time.sleep(0.3)
    return result


def answers(address: str) -> bool:
    """Whether a GET of the address succeeds."""
    try:
        with urllib.request.urlopen(address, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def printed_address(log: Path, label: str) -> str:
    """The address of a server of ours that has printed it after this label, once it answers; until then nothing."""
    match = re.search(rf"{label}:? +(http://127\.0\.0\.1:\d+)", log.read_text(errors="replace"))
    return match[1] if match and answers(match[1]) else ""


def post(address: str, content: Any) -> Any:
    """The answer, from JSON, to content that is sent as JSON."""
    request = urllib.request.Request(address, json.dumps(content).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def ask(address: str, query: str, **variables: Any) -> dict[str, Any]:
    """The data that a Dagster webserver answers to a GraphQL query."""
    answer = post(f"{address}/graphql", {"query": query, "variables": variables})
    assert not answer.get("errors"), answer
    data: dict[str, Any] = answer["data"]
    return data


MATERIALIZATION = """query ($key: AssetKeyInput!, $partitions: [String!]) { assetOrError(assetKey: $key) { ... on Asset {
  assetMaterializations(limit: 1, partitions: $partitions) { runId tags { key value } metadataEntries { label
  ... on UrlMetadataEntry { url } ... on JsonMetadataEntry { jsonString } } } } } }"""


def last_materialization(address: str, asset: str, partition: str = "") -> dict[str, Any]:
    """The run, the data version and the metadata of an asset's last materialization."""
    partitions = [partition] if partition else None
    event = ask(address, MATERIALIZATION, key={"path": [asset]}, partitions=partitions)["assetOrError"]
    event = event["assetMaterializations"][0]
    versions = [tag["value"] for tag in event["tags"] if tag["key"] == "dagster/data_version"]
    metadata = {entry["label"]: entry.get("url") or entry.get("jsonString") for entry in event["metadataEntries"]}
    return {"run_id": event["runId"], "data_version": versions[0], **metadata}


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stop a process as Ctrl-C does; what hangs is killed with its group, and is an error."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
