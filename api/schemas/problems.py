"""How every failure looks: RFC 9457 problem documents with a stable `code`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Fault(BaseModel):
    """One thing wrong with the request."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    where: list[str | int]
    """The path of the offending value, e.g. `["body", "messages", 3, "content"]`."""
    detail: str


class Problem(BaseModel):
    """Switch on `code`; `detail` is for people. Some codes bring more members, e.g. the `conflicts` of a merge."""

    model_config = ConfigDict(
        extra="allow",
        use_attribute_docstrings=True,
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:memos:problem:stale",
                    "title": "The state named in If-Match has passed",
                    "status": 412,
                    "detail": "the memory is at 4, not at 3; read it again and decide anew",
                    "code": "stale",
                    "instance": "019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c11",
                }
            ]
        },
    )

    type: str
    title: str
    status: int
    detail: str
    code: str
    instance: str
    """The request's id: also in the `X-Request-ID` header and in the service's log."""
    errors: list[Fault] | None = None
    """For `invalid`: what is wrong, and where."""
