"""What a profile leaves to the place where it runs: which kind of photos, and which optional features.

It is decided once for a data folder: the record `choice.json` is written when the first target is made there, and from
then on it holds whatever the environment says, so that a folder never turns from one data set into another.
"""

from __future__ import annotations

import http.client
import os
import threading
import urllib.request
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from geoloc_core.errors import CheckpointError, ProfileError
from geoloc_core.line.profile import VARIABLE, Profile, SampleKind
from geoloc_core.storage import one_at_a_time, read_json, write_json

if TYPE_CHECKING:
    from geoloc_core.features.specification import BackboneSpec

# For a probe, the look-up of the name included.
SECONDS = 5.0
FORCE = "GEOLOC_SAMPLE"


@dataclass(frozen=True)
class Choice:
    """The kind of photos ("" where the profile has one only), the environment's values in it, and features left out."""

    sample: str = ""
    environment: tuple[tuple[str, str], ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def note(self) -> str:
        """What is left out and why, in a sentence."""
        if not self.left_out:
            return ""
        return (
            f"Left out: the experiments of {', '.join(self.left_out)}, as their weights were neither on this disk nor at a "
            f"hub that answered within {SECONDS:.0f} s."
        )


def read_choice(path: Path) -> Choice | None:
    """What was decided for a data folder, None where nothing was made there yet."""
    if not path.is_file():
        return None
    try:
        values = read_json(path)
        return Choice(
            str(values["sample"]), tuple(dict(values["environment"]).items()), tuple(map(str, values["left_out"]))
        )
    except (OSError, ValueError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise ProfileError(f"{path} is damaged; delete {path.parent}, and `geoloc refresh` makes it anew") from error


def record_choice(path: Path, choice: Choice) -> None:
    """Write down what was decided, or find that another process decided otherwise a moment ago."""
    if not path.is_file():
        with one_at_a_time(path.with_name(".choice.lock")):
            if not path.is_file():
                write_json(path, {**asdict(choice), "environment": dict(choice.environment)})
    if read_choice(path) != choice:
        raise ProfileError(f"another process chose other photos for {path.parent} just now; run the command again")


def choose(profile: Profile, checkpoints: Path, environment: Mapping[str, str] = os.environ) -> Choice:
    """Decide for a data folder in which nothing was made yet."""
    kind, variables = _first_kind(profile, environment)
    missing = [name for name in profile.optional if not _can_be_had(profile, name, checkpoints, environment)]
    return Choice(kind, tuple(sorted(variables.items())), tuple(missing))


def apply(profile: Profile, file: Path, choice: Choice, environment: Mapping[str, str] = os.environ) -> Profile:
    """The profile as it was decided; folders that moved are where the environment says now."""
    forced = environment.get(FORCE, "")
    if profile.sample and choice.sample not in profile.sample:
        raise ProfileError(f"{file.name} has no sample {choice.sample!r} any more; it has {', '.join(profile.sample)}")
    if profile.sample and forced and forced != choice.sample:
        raise ProfileError(
            f"this data folder was made with the sample {choice.sample!r} and {FORCE} asks for {forced!r}; "
            f"unset {FORCE}, or name another folder with --home"
        )
    now = _variables(profile.sample[choice.sample], environment) if choice.sample else {}
    values = {**environment, **dict(choice.environment), **now}
    return profile.chosen(choice.sample, choice.left_out, choice.note, values, file)


def answers(address: str, user_agent: str, *, proxies: bool = False, seconds: float = SECONDS) -> bool:
    """Whether an address answers HEAD with 200 within so many seconds, redirects and the look-up of its name included."""
    heard: list[int] = []

    def ask() -> None:
        handlers = () if proxies else (urllib.request.ProxyHandler({}),)
        try:
            request = urllib.request.Request(address, method="HEAD", headers={"User-Agent": user_agent})
            with urllib.request.build_opener(*handlers).open(request, timeout=seconds) as response:
                heard.append(response.status)
        except (OSError, ValueError, http.client.HTTPException):
            pass

    # A look-up cannot be stopped; a thread that nobody waits for can be left to itself.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return heard == [200]


def _first_kind(profile: Profile, environment: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """The first kind of photos that can be had, or the one that is asked for, and the variables that it takes."""
    forced = environment.get(FORCE, "")
    if forced and profile.sample and forced not in profile.sample:
        raise ProfileError(f"{FORCE} is {forced!r}; choose one of {', '.join(profile.sample)}")
    for name, kind in profile.sample.items():
        if forced not in ("", name):
            continue
        found = _variables(kind, environment)
        unset = [match[1] for match in VARIABLE.finditer(kind.folder) if match[2] is None and match[1] not in found]
        folder = _filled(kind.folder, found)
        if not unset and folder and not Path(folder).is_dir():
            raise ProfileError(f"{kind.folder} is {folder}, which is no folder; correct it, or unset it")
        if unset and forced:
            raise ProfileError(
                f"{FORCE} asks for {forced!r}, but {unset[0]} is not set; set it to the folder of the photos"
            )
        reached = forced or not kind.address or answers(_filled(kind.address, found), kind.fetching.user_agent)
        if not unset and reached:
            return name, found
    if profile.sample:
        raise ProfileError(
            f"none of the samples {', '.join(profile.sample)} can be had here; set {FORCE}, or bring photos"
        )
    return "", {}


def _variables(kind: SampleKind, environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that a kind of photos names and the environment has; folders as whole paths, as the next command may
    be typed in another folder.
    """
    names = {match[1] for match in VARIABLE.finditer(kind.model_dump_json())}
    folders = {match[1] for match in VARIABLE.finditer(kind.folder)}
    found = {name: environment[name] for name in sorted(names) if environment.get(name)}
    return found | {name: str(Path(found[name]).expanduser().resolve()) for name in folders if name in found}


def _filled(text: str, values: Mapping[str, str]) -> str:
    return VARIABLE.sub(lambda match: values.get(match[1]) or match[2] or "", text)


def _can_be_had(profile: Profile, features: str, checkpoints: Path, environment: Mapping[str, str]) -> bool:
    return all(
        _weights_at_hand(profile.backbone(name), checkpoints, environment) for name in profile.features[features]
    )


def _weights_at_hand(spec: BackboneSpec, checkpoints: Path, environment: Mapping[str, str]) -> bool:
    """Whether weights are on the disk, are made here, or lie at a hub that answers."""
    from geoloc_core.features.checkpoints import locate_checkpoint

    if spec.embedder is not None and not _weights_at_hand(spec.embedder, checkpoints, environment):
        return False
    if spec.weights_kind == "seeded":
        return True
    try:
        locate_checkpoint(spec, checkpoints)
    except CheckpointError:
        return spec.weights_kind == "hub" and _hub_has(spec.weights_target, environment)
    return True


_hub: dict[str, bool] = {}


def _hub_has(model: str, environment: Mapping[str, str]) -> bool:
    """Whether the hub answers for a model; a hub that did not answer once is not asked again by this process."""
    if environment.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        return False
    hub = environment.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"
    if _hub.get(hub, True):
        _hub[hub] = answers(f"{hub}/{model}/resolve/main/config.json", "geoloc/0.1", proxies=True)
    return _hub[hub]
