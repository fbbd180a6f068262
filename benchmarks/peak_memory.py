"""The peak resident memory of this process.

Not `getrusage`: its figure outlives exec, so that a process which a larger one started begins with its parent's peak.
"""

import resource
import sys
from pathlib import Path


def peak_bytes() -> int:
    """The largest resident set since the program began; where there is no /proc, since the process began."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
