"""What a person can mend.

Every error that a user can cause is a `GeolocError` whose message is one clear sentence naming the thing and the mend.
The command line prints it without a traceback and ends with status 2; everything else is a fault of ours and keeps its
traceback.
"""


class GeolocError(Exception):
    """Something outside the program is wrong; the message names it and says how to mend it, in one line."""

    def __str__(self) -> str:
        """The message, with what a library said of it in several lines joined."""
        return " ".join(line.strip() for line in super().__str__().splitlines())


class InputError(GeolocError):
    """A file, a folder or a row that came from outside cannot be used."""


class ProfileError(GeolocError):
    """A profile asks for something that does not exist or does not fit together."""


class CheckpointError(GeolocError):
    """Weights are missing, damaged, or do not fit the specification that names them."""


class StaleArtifactError(GeolocError):
    """An artifact on disk is missing, damaged, or was made with other inputs than the ones at hand."""


class DamagedWarehouseError(InputError):
    """The warehouse file, or a table in it, cannot be read; its rows can all be made again."""


class DiskFullError(GeolocError):
    """There is no room left where something is to be written."""
