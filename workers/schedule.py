"""What happens by the clock. Beat only sends messages; a worker does the work."""

from __future__ import annotations

from typing import Any

RUN_JOB = "memos.run_job"
SWEEP = "memos.sweep"
PURGE = "memos.purge"
PLAN = "memos.plan"
PLAN_CACHES = "memos.plan_caches"

SWEEP_EVERY_S = 5.0
PURGE_EVERY_S = 3_600.0
# Times to live and budgets are kept to the hour; what changes over days is looked at daily (see `memos.services.forget`).
PLAN_EVERY_S = 3_600.0
# A plan that is held as KV and has changed is built again soon: until then only its old prefix is fast.
PLAN_CACHES_EVERY_S = 60.0

SCHEDULE: dict[str, dict[str, Any]] = {
    # A sweep nobody took before the next one is due is not worth taking: without workers they would only pile up.
    "sweep": {"task": SWEEP, "schedule": SWEEP_EVERY_S, "options": {"expires": SWEEP_EVERY_S}},
    "plan": {"task": PLAN, "schedule": PLAN_EVERY_S, "options": {"expires": PLAN_EVERY_S}},
    "plan_caches": {
        "task": PLAN_CACHES,
        "schedule": PLAN_CACHES_EVERY_S,
        "options": {"expires": PLAN_CACHES_EVERY_S},
    },
    "purge": {"task": PURGE, "schedule": PURGE_EVERY_S, "options": {"expires": PURGE_EVERY_S}},
}
