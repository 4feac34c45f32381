"""A study as a job of a Ray cluster.

    ray job submit --address http://HEAD:8265 --working-dir . -- python examples/cluster/ray_job.py studies/sb3.yaml

The study's folder must be on a file system that all nodes share. Submitted again, it goes on where it stopped.
"""

import sys
from pathlib import Path

from reincarnate.studies import read_study, run_study
from reincarnate.studies.ray import RayCluster

if __name__ == "__main__":
    file = Path(sys.argv[1])
    run_study(read_study(file), Path("out") / file.stem, executor=RayCluster(2, "auto"))
