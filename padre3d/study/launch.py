"""Becomes a study's command: lower priority, and it dies with the runner.

    python launch.py RUNNER_PID NICE PROGRAM ARGUMENTS...

It stands alone: it is started as a file, without site packages. On Linux the kernel kills the
command when the runner is gone, even when the runner was killed itself.
"""

import os
import sys

PR_SET_PDEATHSIG = 1
SIGKILL = 9
CANNOT_START = 127


def main() -> None:
    """Replace this process by the command."""
    runner, niceness, *command = sys.argv[1:]
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, SIGKILL)
    if os.getppid() != int(runner):
        sys.exit(CANNOT_START)
    os.nice(int(niceness))
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"cannot start {command[0]}: {error}", file=sys.stderr)
        sys.exit(CANNOT_START)


if __name__ == "__main__":
    main()
