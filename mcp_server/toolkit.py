"""Tools as typed functions: the name, schema and documentation derive from the function."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_type_hints

from mcp_types import ToolAnnotations
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from core.errors import InvalidInputError
from services import tool_schemas

MAX_REPORTED_PROBLEMS = 5


class _Arguments(BaseModel):
    # An argument nobody knows is a misspelt one: saying so lets the model correct itself.
    model_config = ConfigDict(extra="forbid")


class InvalidArgumentsError(InvalidInputError):
    """The arguments do not fit the tool's schema; the text says which and why."""

    code = "INVALID_ARGUMENTS"


@dataclass(frozen=True)
class ToolFunction:
    """A function offered as a tool. It gets the call's context first, then its validated arguments by name."""

    name: str
    call: Callable[..., Any]
    description: str
    input_schema: dict[str, Any]
    annotations: ToolAnnotations
    arguments: type[BaseModel]
    # Async functions are cancelled at their next await; others run on a thread and are cut off through their session.
    is_async: bool

    def validated(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments as the function takes them; raise InvalidArgumentsError."""
        try:
            model = self.arguments.model_validate(arguments)
        except ValidationError as error:
            raise InvalidArgumentsError(_explain(error, self.arguments)) from None
        return {name: getattr(model, name) for name in type(model).model_fields}


Toolbox = dict[str, ToolFunction]


def tool(toolbox: Toolbox, *, read_only: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Put the decorated function into the toolbox and return it unchanged.

    Its first parameter is the call's context; the others, with their types, defaults and `Field` descriptions, make the
    input schema; the docstring is what clients are told. Raise InvalidInputError where that cannot be offered.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        made = _derive(function, read_only=read_only)
        if made.name in toolbox:
            raise ValueError(f"two tools are named {made.name}")
        toolbox[made.name] = made
        return function

    return register


def _derive(function: Callable[..., Any], *, read_only: bool) -> ToolFunction:
    name = function.__name__
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        fields[parameter.name] = (hints[parameter.name], default)
    arguments = create_model(name, __base__=_Arguments, **fields)
    schema = _without_titles(arguments.model_json_schema())
    description = inspect.cleandoc(function.__doc__ or "")
    if not description:
        raise InvalidInputError(f"the tool {name} has no docstring, so nothing to tell clients")
    tool_schemas.check_tool(name, description, schema, tool_schemas.MAX_TIMEOUT_SECONDS)
    return ToolFunction(
        name=name,
        call=function,
        description=description,
        input_schema=schema,
        annotations=ToolAnnotations(read_only_hint=read_only, destructive_hint=False, open_world_hint=False),
        arguments=arguments,
        is_async=inspect.iscoroutinefunction(function),
    )


def _without_titles(schema: Any) -> Any:
    # Generated titles only repeat the names; every token of a schema is read by a model on every call.
    if isinstance(schema, dict):
        kept = {key: value for key, value in schema.items() if not (key == "title" and isinstance(value, str))}
        return {key: _without_titles(value) for key, value in kept.items()}
    if isinstance(schema, list):
        return [_without_titles(item) for item in schema]
    return schema


def _explain(error: ValidationError, arguments: type[BaseModel]) -> str:
    problems = []
    for found in error.errors(include_url=False, include_context=False)[:MAX_REPORTED_PROBLEMS]:
        where = ".".join(str(part)[:64] for part in found["loc"]) or "arguments"
        if found["type"] == "extra_forbidden":
            known = ", ".join(arguments.model_fields) or "none"
            problems.append(f"{where}: unknown argument; known arguments: {known}")
        elif found["type"] == "missing":
            problems.append(f"{where}: required")
        else:
            problems.append(f"{where}: {found['msg']}")
    return "; ".join(problems)
