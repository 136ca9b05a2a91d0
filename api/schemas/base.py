"""What all wire shapes share."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

Item = TypeVar("Item")


class Input(BaseModel):
    """What a caller sends. An unknown field is refused: it would be a wish silently ignored."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True, hide_input_in_errors=True
    )


class Output(BaseModel):
    """What a caller gets; read from the attributes of what a service returned."""

    # A traceback goes to the log, and the log holds no memory content: hence no inputs in errors.
    model_config = ConfigDict(from_attributes=True, use_attribute_docstrings=True, hide_input_in_errors=True)


class Page(Output, Generic[Item]):
    """Some of a list, and where to go on."""

    items: list[Item]
    next_cursor: str | None
    """Pass it as `cursor` for the next page; null on the last."""


def example(**fields: Any) -> ConfigDict:
    """The model's example, shown in the OpenAPI document."""
    return ConfigDict(json_schema_extra={"examples": [fields]})
