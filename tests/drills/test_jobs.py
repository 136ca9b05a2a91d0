"""One small round of the job drill (`memos eval jobs` runs ten on thousands): each sort of server is killed once."""

from __future__ import annotations

from argparse import Namespace

from benchmarks.jobs import drill, make_cubes
from benchmarks.jobs_ground import KILLED, ground


def test_no_job_is_lost_or_done_twice_when_what_it_needs_is_killed() -> None:
    with ground() as (place, app, who):
        arguments = Namespace(jobs=240, kills=len(KILLED), processes=1, lease=6.0, seed=1)
        kills, count, _ = drill(place, app, who, make_cubes(app, who), arguments)
    assert [kill.target for kill in kills] == list(KILLED)
    assert (count.jobs, count.succeeded, count.lost, count.twice) == (240, 240, 0, 0)
