"""What a tool's name, description and input schema must be like, checked when they are saved and when they are loaded."""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Annotated, Any

import orjson
from jsonschema import Draft202012Validator, SchemaError, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend
from pydantic import Field, PydanticSchemaGenerationError, TypeAdapter
from pydantic import ValidationError as PydanticValidationError
from pydantic_core import SchemaError as PatternError
from referencing import Registry

from core.errors import InvalidInputError

# The name clients accept everywhere (SEP-986).
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}\Z")
MAX_DESCRIPTION_CHARACTERS = 4096
MAX_SCHEMA_NODES = 2000
MAX_SCHEMA_DEPTH = 20
MAX_PATTERN_CHARACTERS = 500
# Every element is compared with every other.
MAX_UNIQUE_ITEMS = 1000
MIN_TIMEOUT_SECONDS = 0.05
MAX_TIMEOUT_SECONDS = 300.0
# Characters a person does not see but a model reads: controls, zero-width, bidirectional, tags, variation selectors.
INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\U000e0000-\U000e007f]"
)


def check_tool(name: str, description: str | None, input_schema: Any, timeout_seconds: float) -> None:
    """Raise InvalidInputError saying what is wrong with a tool's metadata."""
    if not _NAME.match(name):
        raise InvalidInputError("a tool's name is 1 to 128 letters, digits, '_', '-' and '.'")
    if not MIN_TIMEOUT_SECONDS <= timeout_seconds <= MAX_TIMEOUT_SECONDS:
        raise InvalidInputError(f"timeout_seconds must be between {MIN_TIMEOUT_SECONDS:g} and {MAX_TIMEOUT_SECONDS:g}")
    if description is not None:
        check_description(description)
    if input_schema is not None:
        check_schema(input_schema)


def check_description(text: str) -> None:
    """Raise InvalidInputError for a description that is too long or holds characters nobody sees."""
    if len(text) > MAX_DESCRIPTION_CHARACTERS:
        raise InvalidInputError(f"a description holds at most {MAX_DESCRIPTION_CHARACTERS} characters")
    found = INVISIBLE.search(text)
    if found:
        raise InvalidInputError(f"the description holds an invisible character (U+{ord(found.group()):04X})")


def check_schema(schema: Any) -> None:
    """Raise InvalidInputError unless this is an object schema (JSON Schema 2020-12) that is safe to check arguments by.

    Safe: references stay inside the schema, patterns run in linear time, size and depth are bounded.
    """
    if not isinstance(schema, dict) or schema.get("type") != "object":
        raise InvalidInputError('an input schema is an object with "type": "object"')
    _check_nodes(schema)
    try:
        orjson.dumps(schema)
    except TypeError as error:
        raise InvalidInputError(f"the input schema cannot be sent: {error}") from None
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        where = "/".join(str(part) for part in error.absolute_path)
        raise InvalidInputError(f"not a valid JSON Schema at {where or 'its root'}: {error.message[:200]}") from None


def argument_validator(schema: dict[str, Any]) -> Validator:
    """Return a validator of arguments for a schema that passed `check_schema`: no fetching, patterns in linear time."""
    # An empty registry: without it, references are fetched from wherever they point.
    validator: Validator = _BoundedValidator(schema, registry=Registry())
    return validator


@lru_cache(maxsize=1024)
def linear_pattern(pattern: str) -> TypeAdapter[str]:
    """Return a checker of the pattern that runs in linear time (Rust's regex); raise InvalidInputError where none can."""
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        raise InvalidInputError(f"a pattern holds at most {MAX_PATTERN_CHARACTERS} characters")
    try:
        return TypeAdapter(Annotated[str, Field(pattern=pattern)])
    except (PatternError, PydanticSchemaGenerationError):
        raise InvalidInputError(f"the pattern cannot be checked in linear time: {pattern[:80]!r}") from None


def _linear_pattern_keyword(_: Any, pattern: str, instance: Any, __: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str):
        try:
            linear_pattern(pattern).validate_python(instance)
        except PydanticValidationError:
            yield ValidationError(f"does not match {pattern!r}")


_BoundedValidator: Any = extend(  # type: ignore[no-untyped-call]  # the stubs give `extend` no types
    Draft202012Validator, {"pattern": _linear_pattern_keyword}
)


def _check_nodes(schema: dict[str, Any]) -> None:
    nodes: list[tuple[Any, int]] = [(schema, 1)]
    seen = 0
    while nodes:
        node, depth = nodes.pop()
        seen += 1
        if seen > MAX_SCHEMA_NODES or depth > MAX_SCHEMA_DEPTH:
            raise InvalidInputError("the input schema is too large or too deep")
        if isinstance(node, dict):
            _check_keywords(node)
            nodes.extend((value, depth + 1) for value in node.values())
        elif isinstance(node, list):
            nodes.extend((value, depth + 1) for value in node)


def _check_keywords(node: dict[str, Any]) -> None:
    for keyword in ("$ref", "$dynamicRef"):
        reference = node.get(keyword)
        if isinstance(reference, str) and not reference.startswith("#"):
            raise InvalidInputError(f"{keyword} must stay inside the schema: {reference[:80]!r}")
    # An identifier would change what a reference that looks local points to.
    if isinstance(node.get("$id"), str):
        raise InvalidInputError("$id is not allowed in an input schema")
    if isinstance(node.get("pattern"), str):
        linear_pattern(node["pattern"])
    # The validator matches these, and the names they leave over, with a backtracking engine.
    if isinstance(node.get("patternProperties"), dict):
        raise InvalidInputError("patternProperties is not allowed in an input schema")
    most = node.get("maxItems")
    if node.get("uniqueItems") is True and not (isinstance(most, int) and most <= MAX_UNIQUE_ITEMS):
        raise InvalidInputError(f"uniqueItems needs maxItems of at most {MAX_UNIQUE_ITEMS}")
