"""Accuracy studies: variants x seeds, one process per run, results that survive a kill.

| module | what |
|---|---|
| spec | what a study file defines, and the runs that follow from it |
| options | overrides as ``--cfg-options`` |
| store | results.jsonl and the lock |
| process, launch | one command in a process group of its own |
| reuse | files that one run takes over from another |
| job, metrics, environment | one run: its steps, its figures, where it ran |
| runner, display | all runs: order, budget, signals; the table of states |
| seeds, report, plot | mean, spread and paired differences; tables and pictures |

Needs the standard library and rich; plots need matplotlib.
"""

from padre3d.study.spec import Reuse, Step, Study

__all__ = ["Reuse", "Step", "Study"]
