"""`python -m tests`: the whole suite as two processes, each with servers of its own.

One process leaves the second processor idle. With arguments it is pytest's own run with them.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
PYTEST = (sys.executable, "-m", "pytest")


def main(arguments: list[str]) -> int:
    """0 where every test passed."""
    if arguments:
        return subprocess.call([*PYTEST, *arguments])
    folders, files = shares()
    with tempfile.TemporaryFile() as kept:
        beside = subprocess.Popen([*PYTEST, *files], stdout=kept, stderr=subprocess.STDOUT)
        first = subprocess.Popen([*PYTEST, *folders])
        try:
            codes = [first.wait(), beside.wait()]
        finally:
            # Interrupted: both were told as well, and end with what they have started.
            first.wait()
            beside.wait()
        kept.seek(0)
        sys.stdout.write(kept.read().decode(errors="replace"))
    return codes[0] or codes[1]


def shares() -> tuple[list[str], list[str]]:
    """What each of the two runs: the folders, whose tests are of parts, and the files beside them,
    whose tests are of the whole; the fault suite goes with those."""
    whole = [str(path) for path in sorted(HERE.glob("test_*.py"))] + [str(HERE / "faults")]
    parts = [
        str(path)
        for path in sorted(HERE.iterdir())
        if path.is_dir() and path.name != "faults" and any(path.glob("test_*.py"))
    ]
    return parts, whole


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
