"""Keeping libraries' own bars and reports out of ours while a checkpoint is loaded or written.

What they report (missing weights, misshapen weights) is read from their return values and raised as an error instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bar and no load report of transformers within the block; the settings found are put back after it."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
