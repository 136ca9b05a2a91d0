"""The overview: what an operator looks at first."""

from __future__ import annotations

from starlette.responses import Response

from api.call import answer
from api.dependencies import Caller
from api.routing import Routes
from api.schemas.admin import OverviewOut
from memos.rules.access import Scope
from memos.services import administer, jobs, oversee
from memos.services.oversee import Vitals

routes = Routes("Admin")

MOST_FAILED = 10


@routes.add("GET", "/admin/v1/overview", scope=Scope.ADMIN, summary="See how it is going", answer=OverviewOut)
def get_overview(call: Caller) -> Response:
    """Tenants, the newest failed jobs, the model in use; memories by state, kind, tier and strength; how fast recall was,
    and what waits. Every number is counted within bounds, so that it costs the same however much is remembered."""
    with call.reading() as tx:
        tenants = administer.list_tenants(tx, call.who)
        failed = jobs.list_jobs(tx, call.who, state="failed", kind=None, limit=MOST_FAILED, cursor=None)
        vitals = oversee.vitals(tx, call.who, call.now)
    numbers = {name: getattr(vitals, name) for name in Vitals.__dataclass_fields__}
    return answer(OverviewOut, {"tenants": tenants, "failed_jobs": failed.items, "model": call.app.embedder, **numbers})
