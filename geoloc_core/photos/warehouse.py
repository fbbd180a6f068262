"""Tables of photos in one DuckDB file, which opens in DuckDB's own shell.

DuckDB lets one process write or many processes read. Both ways wait here for the lock with growing pauses, and a
connection is closed whatever happens inside its block. Compute first and write last, so that a writer is held briefly.
"""

import contextlib
import os
import random
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
from filelock import FileLock, Timeout

from geoloc_core.errors import DamagedWarehouseError, InputError
from geoloc_core.storage import disk_full, no_room, temporary_folder

_TABLE_NAME = re.compile(r"^[a-z][a-z0-9_]*$")
# What DuckDB says when another process, or another thread of this one, has the file open in another way.
_BUSY = ("Could not set lock", "different configuration", "being used by another process", "Conflicting lock")
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 2.0


@dataclass(frozen=True)
class Warehouse:
    """The DuckDB file at `path`. `memory_limit` is DuckDB's own; beyond it, it works on disk beside the file."""

    path: Path
    memory_limit: str = "1GiB"
    patience_s: float = 120.0

    @contextlib.contextmanager
    def reader(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection that reads; other readers may be open at the same time, in any process."""
        if not self.path.is_file():
            raise InputError(f"there is no warehouse at {self.path} yet; materialize labeled_photos first")
        with self._named_errors(), contextlib.closing(self._connect(read_only=True)) as connection:
            yield connection

    @contextlib.contextmanager
    def writer(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection in a transaction: committed when the block ends well, rolled back when it does not.

        A lock of our own is held until the file is closed: DuckDB's does not hold threads apart, and while it closes the file
        (it moves the log of changes into it) a writer in another process may open it already.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path.with_name(f"{self.path.name}.lock"), timeout=self.patience_s)
        with self._named_errors(), lock:
            if not self.path.exists():
                self._create()
            # To close a connection in a transaction is to roll back.
            with contextlib.closing(self._connect(read_only=False)) as connection:
                connection.begin()
                yield connection
                connection.commit()

    def _create(self) -> None:
        """Make an empty database that appears whole: one half-made would be taken for damaged."""
        with temporary_folder(self.path.parent) as folder:
            new = folder / self.path.name
            duckdb.connect(str(new)).close()
            with contextlib.suppress(OSError):  # another process was first, or the disk knows no links
                os.link(new, self.path)

    @contextlib.contextmanager
    def _named_errors(self) -> Iterator[None]:
        """A DuckDB error that a person can mend becomes one of ours; any other stays as it is."""
        broken = (duckdb.IOException, duckdb.FatalException, duckdb.InternalException, duckdb.SerializationException)
        try:
            yield
        except Timeout as error:
            raise self._in_use() from error
        except duckdb.Error as error:
            sentence = " ".join(str(error).split())
            if no_room(sentence):
                raise disk_full(self.path.parent) from error
            # DuckDB 2.0 reports a wrong checksum by its plain base class.
            if isinstance(error, broken) or "Corrupt database file" in sentence:
                raise DamagedWarehouseError(
                    f"the warehouse {self.path} is damaged ({sentence[:200]}); `geoloc refresh --verify` makes its"
                    " tables anew"
                ) from error
            raise

    def _connect(self, read_only: bool) -> duckdb.DuckDBPyConnection:
        deadline = time.monotonic() + self.patience_s
        pause = _FIRST_PAUSE_S
        while True:
            try:
                return duckdb.connect(str(self.path), read_only=read_only, config={"memory_limit": self.memory_limit})
            except duckdb.Error as error:
                if no_room(error):
                    raise
                if not any(words in str(error) for words in _BUSY):
                    raise DamagedWarehouseError(
                        f"{self.path} cannot be opened as a DuckDB file ({' '.join(str(error).split())[:200]});"
                        " `geoloc refresh` sets it aside and makes its tables anew"
                    ) from error
                if time.monotonic() + pause > deadline:
                    raise self._in_use() from error
            time.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(pause * 2, _LONGEST_PAUSE_S)

    def _in_use(self) -> InputError:
        return InputError(
            f"the warehouse {self.path} has been in use by another process for {self.patience_s:.0f} s;"
            " close what holds it (a DuckDB shell, another run) and try again"
        )

    def set_aside_if_damaged(self, every_byte: bool = False) -> Path | None:
        """Move a file that DuckDB cannot read, or an empty one, out of the way; where it is now, None where nothing was
        wrong.

        With `every_byte` all of it is read, which proves the checksum of every block; else the tables' names and
        shards.
        """
        if not self.path.is_file():
            return None
        if self.path.stat().st_size > 0:
            with contextlib.suppress(DamagedWarehouseError):
                with self.reader() as connection:
                    query = "SELECT DISTINCT table_name FROM information_schema.columns WHERE column_name = 'shard'"
                    tables = [row[0] for row in connection.execute(query).fetchall()]
                for table in tables:
                    self.rows_by_shard(table, every_byte)
                return None
        aside = self.path.with_name(f"{self.path.name}.damaged")
        self.path.replace(aside)
        # Its log of changes belongs to it alone.
        self.path.with_name(f"{self.path.name}.wal").unlink(missing_ok=True)
        return aside

    def replace_shard(self, table: str, shard: str, frame: pd.DataFrame) -> int:
        """Replace the rows that `table` has of one shard, in one transaction; the number of rows.

        `frame` has a column `shard` that says `shard` throughout. A reader sees the old rows or the new, never a mixture.
        """
        foreign = frame.loc[frame["shard"] != shard, "shard"]
        if len(foreign):
            raise InputError(f"rows of shard {foreign.iloc[0]} were given for shard {shard} of {table}")
        with self.writer() as connection:
            _delete_shard(connection, table, shard)
            return _append(connection, table, frame)

    def replace_table(self, table: str, frame: pd.DataFrame) -> int:
        """Replace all of `table`, columns included, in one transaction; the number of rows."""
        with self.writer() as connection:
            connection.execute(f"DROP TABLE IF EXISTS {_quoted(table)}")
            return _append(connection, table, frame)

    def remove_shard(self, table: str, shard: str) -> int:
        """Take a shard out of `table`; the number of rows that it had."""
        with self.writer() as connection:
            return _delete_shard(connection, table, shard)

    def read_table(
        self, table: str, where: Mapping[str, str | Sequence[str]] | None = None, columns: Sequence[str] = ()
    ) -> pd.DataFrame:
        """Rows of `table`, all columns or some, ordered by shard and photo id where it has them.

        `where` maps a column to the value, or the values, that it must have.
        """
        where = where or {}
        with self.reader() as connection:
            order = [column for column in ("shard", "photo_id") if column in self._columns(connection, table)]
            query = f"SELECT {', '.join(map(_quoted, columns)) or '*'} FROM {_quoted(table)}"
            query += " WHERE " * bool(where) + " AND ".join(f"list_contains(?, {_quoted(column)})" for column in where)
            query += f" ORDER BY {', '.join(order)}" if order else ""
            values = [[value] if isinstance(value, str) else list(value) for value in where.values()]
            return connection.execute(query, values).df()

    def rows_by_shard(self, table: str, every_byte: bool = False) -> dict[str, int]:
        """Rows of each shard; none where the table is not there. `every_byte` reads every column of every row.

        DuckDB proves the checksum of each block that it reads. Raises DamagedWarehouseError where one does not hold.
        """
        if not self.path.is_file():
            return {}
        whole = ", bit_xor(hash(t))" if every_byte else ""
        with self.reader() as connection:
            if not _columns_of(connection, table):
                return {}
            query = f"SELECT shard, count(*){whole} FROM {_quoted(table)} AS t GROUP BY shard"
            return {str(row[0]): int(row[1]) for row in connection.execute(query).fetchall()}

    def count_by(self, table: str, *columns: str) -> pd.DataFrame:
        """`columns` and `n`, the number of rows of each combination of their values; most first.

        Counted inside DuckDB: the memory that it takes does not grow with the table.
        """
        with self.reader() as connection:
            self._columns(connection, table)
            names = ", ".join(map(_quoted, columns))
            query = f"SELECT {names}, count(*) AS n FROM {_quoted(table)} GROUP BY ALL ORDER BY n DESC, {names}"
            return connection.execute(query).df()

    def _columns(self, connection: duckdb.DuckDBPyConnection, table: str) -> list[str]:
        columns = _columns_of(connection, table)
        if not columns:
            raise InputError(f"the warehouse {self.path} has no table {table} yet; materialize {table} first")
        return columns


def _delete_shard(connection: duckdb.DuckDBPyConnection, table: str, shard: str) -> int:
    """The number of rows that the table had of the shard."""
    if not _columns_of(connection, table):
        return 0
    deleted = connection.execute(f"DELETE FROM {_quoted(table)} WHERE shard = ?", [shard]).fetchone()
    return int(deleted[0]) if deleted else 0


def _append(connection: duckdb.DuckDBPyConnection, table: str, frame: pd.DataFrame) -> int:
    """Insert by column name, making the table from the first frame; the number of rows."""
    incoming = pa.Table.from_pandas(frame, preserve_index=False)  # DuckDB finds it by this name
    for position, field in enumerate(incoming.schema):
        if pa.types.is_null(field.type):  # a column of text in which no row shows it
            incoming = incoming.set_column(position, field.name, incoming.column(position).cast(pa.string()))
    connection.execute(f"CREATE TABLE IF NOT EXISTS {_quoted(table)} AS SELECT * FROM incoming LIMIT 0")
    columns = _columns_of(connection, table)
    if sorted(columns) != sorted(frame.columns):
        raise InputError(
            f"table {table} has the columns {', '.join(columns)}, the new rows {', '.join(map(str, frame.columns))}"
        )
    connection.execute(f"INSERT INTO {_quoted(table)} BY NAME SELECT * FROM incoming")
    return incoming.num_rows


def _columns_of(connection: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    """The columns of a table, in order; none where there is no such table."""
    query = "SELECT column_name FROM information_schema.columns WHERE table_name = ? ORDER BY ordinal_position"
    return [row[0] for row in connection.execute(query, [table]).fetchall()]


def _quoted(name: str) -> str:
    """A table's or column's name for use inside SQL."""
    if not _TABLE_NAME.match(name):
        raise InputError(f"{name!r} is not a name of a table or column: use small letters, digits and _")
    return f'"{name}"'
