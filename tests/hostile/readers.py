"""Every reader of outside input, as a function of the input's path and a home; each accepts, or refuses by a `GeolocError`.

Commands run as a person types them, so that what is judged is the sentence on the screen.
"""

import contextlib
import io
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from geoloc_core.errors import GeolocError
from geoloc_core.features.backbones import backbone
from geoloc_core.geography.boundaries import load_boundaries
from geoloc_core.line.landing import take_in
from geoloc_core.line.layout import Layout
from geoloc_core.line.profile import parse_profile
from geoloc_core.line.project import open_project
from geoloc_core.line.staleness import State, make_plan
from geoloc_core.photos.archives import is_archive, unpack_images
from geoloc_core.photos.exif import read_gps
from geoloc_core.photos.fetch.download import fetch_images
from geoloc_core.photos.images import ImageLimits, build_manifest, load_image
from geoloc_core.photos.schemas import ImageManifest, RawPhotos, RejectedRows
from geoloc_core.photos.settings import Dataset, FetchPolicy
from geoloc_core.photos.shard_rows import read_shard_rows
from geoloc_core.tables import empty, validate
from geoloc_dagster.cli import main
from tests.core.photos.conftest import jpeg
from tests.dagster.tiny_line import TINY, new_project

LATER = 4e9  # seconds since the epoch: by then every file has settled


def command(*arguments: str) -> None:
    """A command; status 2 with one sentence is a refusal, all else that is not well an error."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(arguments)
    sentences = [line for line in err.getvalue().splitlines() if line.startswith("geoloc: ")]
    if status == 2:
        raise GeolocError("\n".join(sentences).removeprefix("geoloc: "))
    if status:
        raise AssertionError(f"the command ended with {status}: {err.getvalue()[-500:]}")


def profile(path: Path, home: Path) -> None:
    """`geoloc plan`: reads the profile whole and plans by it."""
    command("plan", "--profile", str(path), "--home", str(home))


def rows(path: Path, home: Path) -> None:
    """A metadata file: its rows, and what the landing folder says of it."""
    if path.is_file() and not path.is_symlink():
        layout = Layout(home)
        layout.landing.mkdir()
        (layout.landing / path.name).hardlink_to(path)
        take_in(parse_profile(TINY), layout, now=LATER)
    batch = read_shard_rows(Dataset(name="d", metadata=str(path)), 0, home / "cut")
    numbers = sorted([*batch.accepted["row_number"], *batch.rejected["row_number"]])
    assert numbers == list(range(1, len(numbers) + 1)), "accepted + rejected are not all rows"


def archive(path: Path, home: Path) -> None:
    """Its pictures unpacked and described, and its rows."""
    if is_archive(path):
        unpack_images(path, home / "images", ImageLimits())
    rows(path, home)


def picture(path: Path, home: Path) -> None:
    """Decoded whole, reduced, and described for the manifest."""
    photos = pd.DataFrame({"photo_id": ["a"], "image_path": [path.name]})
    build_manifest(photos, path.parent, workers=1)
    load_image(path, smallest_side=100)
    load_image(path)


def exif(path: Path, home: Path) -> None:
    """A position or the reason for none."""
    read_gps(path)


def checkpoint(path: Path, home: Path) -> None:
    """Loaded, and one picture sent through."""
    from geoloc_core.features.encoder import load_encoder

    load_encoder(backbone("tiny-vit").changed(weights=f"path:{path}"), home / "checkpoints")


def packed_model(path: Path, home: Path) -> None:
    """`geoloc predict --model`."""
    photo = home.parent / "tmp" / "photo.jpg"
    photo.write_bytes(jpeg(52.0, size=(64, 64)))
    project = home.parent / "in" / "tiny.yaml"
    command("predict", str(photo), "--model", str(path), "--profile", str(project), "--home", str(home), "--json")


def receipt(path: Path, home: Path) -> None:
    """`geoloc plan` of a home that has it, and the removal of what no profile names."""
    project = new_project(home.parent / "tmp")
    command("plan", "--profile", str(project.profile_path), "--home", str(home))
    state = State(open_project(str(project.profile_path), home))
    make_plan(state)
    for target in state.orphans():
        state.remove(target)


def answer_of_a_server(path: Path, home: Path) -> None:
    """A picture fetched from a server that sends these bytes; `.endless` is sent again and again."""
    content, endless = path.read_bytes(), path.suffix == ".endless"
    server = socket.create_server(("127.0.0.1", 0))

    def talk(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.recv(65_536)
            connection.sendall(content)
            while endless:
                connection.sendall(content[len(content) // 2 :])

    def serve() -> None:
        while True:
            threading.Thread(target=talk, args=(server.accept()[0],), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    address = f"http://127.0.0.1:{server.getsockname()[1]}/a.jpg"
    photos = pd.DataFrame({"photo_id": ["a"], "image_url": [address], "image_path": ""})
    times = {"connect_timeout_s": 2.0, "stall_timeout_s": 2.0, "total_timeout_s": 5.0, "first_pause_s": 0.01}
    policy = FetchPolicy(attempts=2, allowed_networks=(("127.0.0.1/32"),), longest_retry_after_s=1.0, **times)
    fetch_images(photos, home / "images", home / "ledger.jsonl", policy)


def boundaries(path: Path, home: Path) -> None:
    """Polygons, or a specification that names them."""
    load_boundaries(path)


READERS: dict[str, Callable[[Path, Path], None]] = {
    "profile": profile,
    "table": rows,
    "parquet": rows,
    "archive": archive,
    "picture": picture,
    "exif": exif,
    "checkpoint": checkpoint,
    "packed model": packed_model,
    "receipt": receipt,
    "answer of a server": answer_of_a_server,
    "boundaries": boundaries,
}
NEEDS_PROJECT = ("checkpoint", "packed model")


def load_libraries(kinds: Sequence[str]) -> None:
    """Import and prepare what the readers of these kinds need when they are called, so that a forked child loads nothing."""
    import dagster  # noqa: F401

    import geoloc_dagster.refresh  # noqa: F401

    for schema in (RawPhotos, RejectedRows, ImageManifest):
        validate(schema, empty(schema), "nothing")
    if not set(kinds).isdisjoint(NEEDS_PROJECT):
        import transformers.models.vit.modeling_vit  # noqa: F401

        import geoloc_core.answers.predict
        import geoloc_core.features.encoders.clip  # noqa: F401
