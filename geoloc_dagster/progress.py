"""A refresh as lines on standard error."""

import sys

from geoloc_core.line.lineage import Target


class Teller:
    """Says when a target starts, ends or fails. `expected` is the most that may come; 0 when nobody knows."""

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.done = 0

    def __call__(self, event: str, target: Target | None, detail: str) -> None:
        """Hear of one event of `refresh`."""
        if event == "start":
            return
        if event == "mended":
            print(f"mended: {detail}", file=sys.stderr, flush=True)
            return
        if event in {"done", "failed"}:
            self.done += 1
        place = f"[{self.done:>3}/{max(self.expected, self.done)}]" if self.expected else f"[{self.done:>3}]"
        mark = {"done": "made", "failed": "FAILED", "registered": "registered", "removed": "removed"}[event]
        print(f"{place} {mark:10} {target}  {detail}", file=sys.stderr, flush=True)
