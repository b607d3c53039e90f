"""Forms made from pydantic types: which inputs a settings type needs, and back from a browser's form to its values."""

import json
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from admin.field_texts import HELP, LABELS, MESSAGES
from admin.forms import Form
from admin.i18n import Language

# A text that may be longer than this gets an area instead of a line.
LINE_MAX = 200
BLANK_ROWS = 2
ROWS_MAX = 200


class Kind(StrEnum):
    CHECK = "check"
    CHOICE = "choice"
    NUMBER = "number"
    TEXT = "text"
    AREA = "area"
    NUMBERS = "numbers"
    LINES = "lines"
    ROWS = "rows"
    JSON = "json"
    SECTION = "section"


@dataclass
class Field:
    """One input, or a section or table of them. `name` is the dotted path its value has in the settings."""

    name: str
    key: str
    kind: Kind
    label: str
    help: str = ""
    value: Any = ""
    error: str = ""
    options: list[str] = field(default_factory=list)
    attributes: dict[str, Any] = field(default_factory=dict)
    fields: list["Field"] = field(default_factory=list)
    rows: list[list["Field"]] = field(default_factory=list)

    def all(self) -> list["Field"]:
        """Return this field and those below it."""
        below = [*self.fields, *(cell for row in self.rows for cell in row)]
        return [self, *(inner for one in below for inner in one.all())]


# What a key of a mapping is called in a table's row.
KEY = "__key"
VALUE = "__value"


def build(model: type[BaseModel], values: Mapping[str, Any], language: Language) -> Field:
    """Return the form of the type, filled with values as they are stored or as they were read from a form."""
    root = Field("", "", Kind.SECTION, "")
    root.fields = _fields(model, values, "", language)
    return root


def read(model: type[BaseModel], form: Form) -> dict[str, Any]:
    """Return the values the form holds, ready to be validated; nothing is checked here."""
    return _read_model(model, form, "")


def place_errors(root: Field, error: ValidationError, language: Language) -> list[str]:
    """Put each validation error at its field and return the messages, each with the field's name."""
    named = {one.name: one for one in root.all() if one.name}
    messages = []
    for one in error.errors(include_url=False, include_input=False):
        loc = [str(part) for part in one["loc"]]
        text = message(one, language)
        place = next((cut for cut in range(len(loc), 0, -1) if ".".join(loc[:cut]) in named), 0)
        target = named.get(".".join(loc[:place]))
        inner = ".".join(loc[place:])
        shown = f"{inner}: {text}" if inner else text
        if target is not None:
            target.error = f"{target.error} {shown}".strip()
        messages.append(f"{target.label if target else '.'.join(loc)}: {shown}")
    return messages


def message(error: Mapping[str, Any], language: Language) -> str:
    """Return what is wrong in the reader's language, as far as it is known in it."""
    known = MESSAGES.get(error["type"])
    return language.gettext(known) % (error.get("ctx") or {}) if known else error["msg"].removeprefix("Value error, ")


def _fields(model: type[BaseModel], values: Mapping[str, Any], prefix: str, language: Language) -> list[Field]:
    return [_field(info, f"{prefix}{key}", key, values.get(key), language) for key, info in model.model_fields.items()]


def _field(info: FieldInfo, name: str, key: str, value: Any, language: Language) -> Field:
    kind, inner = _kind(info)
    made = Field(name, key, kind, _label(name, key, language), _help(name, key, language))
    if kind is Kind.SECTION:
        made.fields = _fields(inner, value if isinstance(value, Mapping) else {}, f"{name}.", language)
    elif kind is Kind.ROWS:
        _fill_rows(made, inner, value, language)
    else:
        made.value = _shown(kind, value)
        made.options = [str(one) for one in inner] if kind is Kind.CHOICE else []
        made.attributes = _attributes(info, kind)
    return made


def _fill_rows(made: Field, row_type: Any, value: Any, language: Language) -> None:
    """Lay a tuple of models, or a mapping of texts or models, out as a table with some empty rows below."""
    if isinstance(value, Mapping):
        rows = [{KEY: key} | (dict(one) if isinstance(one, Mapping) else {VALUE: one}) for key, one in value.items()]
    else:
        rows = [dict(one) for one in value or [] if isinstance(one, Mapping)]
    keyed, model = row_type
    for place, row in enumerate([*rows, *({} for _ in range(BLANK_ROWS))]):
        prefix = f"{made.name}.{place}."
        cells = []
        if keyed:
            cells.append(_cell(f"{prefix}{KEY}", KEY, Kind.TEXT, row.get(KEY, ""), language))
        if model is str:
            cells.append(_cell(f"{prefix}{VALUE}", VALUE, Kind.AREA, row.get(VALUE, ""), language))
        elif model is tuple:
            cells.append(_cell(f"{prefix}{VALUE}", VALUE, Kind.NUMBERS, _shown(Kind.NUMBERS, row.get(VALUE)), language))
        else:
            cells += _fields(model, row, prefix, language)
        for cell in cells:
            # An empty row is allowed, so no cell of it may insist on a value.
            cell.attributes.pop("required", None)
        made.rows.append(cells)


def _cell(name: str, key: str, kind: Kind, value: Any, language: Language) -> Field:
    return Field(name, key, kind, _label(name, key, language), value=value)


def _read_model(model: type[BaseModel], form: Form, prefix: str) -> dict[str, Any]:
    return {key: _read_field(info, form, f"{prefix}{key}") for key, info in model.model_fields.items()}


def _read_field(info: FieldInfo, form: Form, name: str) -> Any:
    kind, inner = _kind(info)
    if kind is Kind.SECTION:
        return _read_model(inner, form, f"{name}.")
    if kind is Kind.ROWS:
        return _read_rows(inner, form, name)
    if kind is Kind.CHECK:
        return form.flag(name)
    if kind is Kind.NUMBERS:
        return _parts(form.line(name))
    if kind is Kind.LINES:
        return [part.strip() for part in form.text(name).split("\n") if part.strip()]
    if kind is Kind.JSON:
        return _read_json(form.text(name))
    text = form.text(name) if kind is Kind.AREA else form.line(name)
    return None if text == "" and type(None) in get_args(info.annotation) else text


def _read_rows(row_type: Any, form: Form, name: str) -> Any:
    keyed, model = row_type
    places = {one.removeprefix(f"{name}.").split(".")[0] for one in form.names() if one.startswith(f"{name}.")}
    rows = []
    for place in sorted(int(one) for one in places if one.isdecimal() and len(one) <= 4)[:ROWS_MAX]:
        prefix = f"{name}.{place}."
        if not any(form.line(one) for one in form.names() if one.startswith(prefix)):
            continue
        rows.append((form.line(f"{prefix}{KEY}"), _read_row(model, form, prefix)))
    return dict(rows) if keyed else [value for _, value in rows]


def _read_row(model: Any, form: Form, prefix: str) -> Any:
    if model is str:
        return form.text(f"{prefix}{VALUE}")
    return _parts(form.line(f"{prefix}{VALUE}")) if model is tuple else _read_model(model, form, prefix)


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.replace("，", ",").split(",") if part.strip()]


def _read_json(text: str) -> Any:
    try:
        return json.loads(text) if text.strip() else None
    except (ValueError, RecursionError):
        # The type will not take a text here, and says so at the field.
        return text


def _kind(info: FieldInfo) -> tuple[Kind, Any]:
    """Return how the field is put in, and what of its type that needs: a model, choices, a row's type."""
    annotation = _bare(info.annotation)
    origin, inner = get_origin(annotation), [_bare(one) for one in get_args(annotation)]
    if origin is Literal:
        return Kind.CHOICE, inner
    if origin in (tuple, list):
        return _sequence_kind(inner[0])
    if origin is dict:
        value_type = get_origin(inner[1]) or inner[1]
        return (
            (Kind.ROWS, (True, value_type))
            if value_type in (str, tuple) or _is_model(value_type)
            else (Kind.JSON, None)
        )
    if _is_model(annotation):
        return Kind.SECTION, annotation
    if isinstance(annotation, type):
        if issubclass(annotation, Enum):
            return Kind.CHOICE, [one.value for one in annotation]
        if annotation is bool:
            return Kind.CHECK, None
        if annotation in (int, float):
            return Kind.NUMBER, None
        if annotation is str:
            return (Kind.AREA if _limit(info, MaxLen, "max_length", LINE_MAX) > LINE_MAX else Kind.TEXT), None
    return Kind.JSON, None


def _sequence_kind(inner: Any) -> tuple[Kind, Any]:
    if _is_model(inner):
        return Kind.ROWS, (False, inner)
    if inner in (int, float):
        return Kind.NUMBERS, None
    return (Kind.LINES if isinstance(inner, type) else Kind.JSON), None


def _bare(annotation: Any) -> Any:
    """Return the type without what annotates it and without None."""
    while hasattr(annotation, "__metadata__"):
        annotation = annotation.__origin__
    if get_origin(annotation) in (Union, types.UnionType):
        members = [one for one in get_args(annotation) if one is not type(None)]
        return _bare(members[0]) if len(members) == 1 else annotation
    return annotation


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _limit(info: FieldInfo, kind: type, name: str, default: Any) -> Any:
    return next((getattr(one, name) for one in info.metadata if isinstance(one, kind)), default)


def _attributes(info: FieldInfo, kind: Kind) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if kind is Kind.NUMBER:
        lowest = _limit(info, Ge, "ge", _limit(info, Gt, "gt", None))
        highest = _limit(info, Le, "le", _limit(info, Lt, "lt", None))
        found |= {"min": lowest, "max": highest, "step": "1" if _bare(info.annotation) is int else "any"}
    if kind is Kind.TEXT:
        found["maxlength"] = _limit(info, MaxLen, "max_length", None)
    return {name: value for name, value in found.items() if value is not None}


def _shown(kind: Kind, value: Any) -> Any:
    if kind is Kind.CHECK:
        return bool(value)
    if kind is Kind.JSON and not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False, indent=2) if value is not None else ""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return (", " if kind is Kind.NUMBERS else "\n").join(_plain(one) for one in value)
    return _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None else str(value)


def _label(name: str, key: str, language: Language) -> str:
    known = LABELS.get(name) or LABELS.get(key)
    return language.gettext(known) if known else key.replace("_", " ").strip().capitalize()


def _help(name: str, key: str, language: Language) -> str:
    known = HELP.get(name) or HELP.get(key)
    return language.gettext(known) if known else ""
