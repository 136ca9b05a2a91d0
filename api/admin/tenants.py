"""Tenants: who owns memory."""

from __future__ import annotations

from starlette.responses import Response

from api.call import answer
from api.dependencies import Caller
from api.routing import Routes
from api.schemas.admin import TenantIn, TenantOut
from api.schemas.base import Page
from memos.rules.access import Scope
from memos.services import administer
from memos.services.views import Page as Found

routes = Routes("Admin")


@routes.add(
    "POST",
    "/admin/v1/tenants",
    scope=Scope.ADMIN,
    summary="Create a tenant",
    answer=TenantOut,
    status=201,
    fails=(409,),
)
def create_tenant(call: Caller, body: TenantIn) -> Response:
    """Only for keys of the operating tenant."""
    with call.writing() as tx:
        tenant = administer.create_tenant(tx, call.who, name=body.name, now=call.now)
        return call.keep(tx, 201, TenantOut, tenant)


@routes.add("GET", "/admin/v1/tenants", scope=Scope.ADMIN, summary="List tenants", answer=Page[TenantOut])
def list_tenants(call: Caller) -> Response:
    """Every tenant for the operator, one's own for anybody else."""
    with call.reading() as tx:
        found = administer.list_tenants(tx, call.who)
    return answer(Page[TenantOut], Found(found, None))
