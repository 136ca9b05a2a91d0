"""Quotas and rate limits."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query
from starlette.responses import Response

from api.call import answer
from api.dependencies import Caller
from api.routing import Routes
from api.schemas.fields import Reference
from api.schemas.governance import QuotaIn, QuotaOut, QuotasOut
from memos.rules.access import Scope
from memos.services import quotas

routes = Routes("Admin")


OfTenant = Annotated[Reference | None, Query(description="Of this tenant, for the operator.")]


@routes.add("GET", "/admin/v1/quotas", scope=Scope.ADMIN, summary="List limits and use", answer=QuotasOut, fails=(404,))
def list_quotas(call: Caller, tenant: OfTenant = None) -> Response:
    """Of one's own tenant and its keys."""
    with call.reading() as tx:
        found = quotas.list_quotas(call.app.database, tx, call.who, tenant=tenant)
    return answer(QuotasOut, {"items": found})


@routes.add("PUT", "/admin/v1/quotas/{subject}", scope=Scope.ADMIN, summary="Set limits", answer=QuotaOut, fails=(404,))
def put_quota(
    call: Caller,
    subject: Annotated[Reference, Path(description="`tenant`, a tenant's id or name, or a key's id.")],
    body: QuotaIn,
) -> Response:
    """Replaces the limits as a whole. Those of a tenant are the operator's to set. Beyond the rate requests are 429
    `too_busy`, beyond the room writes are 429 `quota_exceeded`."""
    with call.writing() as tx:
        found = quotas.put_quota(
            call.app.database,
            tx,
            call.who,
            subject,
            tenant=body.tenant,
            rate_per_s=body.rate_per_s,
            burst=body.burst,
            max_memories=body.max_memories,
            max_bytes=body.max_bytes,
            now=call.now,
        )
        return call.keep(tx, 200, QuotaOut, found)
