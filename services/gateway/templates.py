"""Welcome templates: a small, safe part of Jinja2. Straight-line only, so output and time are bounded by their length."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from core.errors import InvalidInputError
from services.gateway.defaults import DEFAULT_TEMPLATES
from services.gateway.text import clean_line, clean_text

FALLBACK_LOCALE = "zh-CN"
MAX_TEMPLATE_CHARACTERS = 2000
MAX_OUTPUT_CHARACTERS = 4000
MAX_VALUE_CHARACTERS = 64
# What a template may name, with what a preview shows for it.
SAMPLE: Mapping[str, str] = {
    "username": "小美",
    "locale": "zh-CN",
    "interests": "皮肤管理、激光美肤",
    "source": "wechat",
    "company": "安美智享",
}
_DEFAULTS = {"company": "安美智享"}
_FILTERS = frozenset({"capitalize", "default", "d", "lower", "title", "trim", "truncate", "upper"})
# No loop, no call, no arithmetic, no attribute, no assignment: what is left runs once through and cannot multiply.
_ALLOWED = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.Name,
    nodes.Const,
    nodes.Filter,
    nodes.Keyword,
    nodes.If,
    nodes.CondExpr,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
)
_TRADITIONAL = frozenset({"hant", "tw", "hk", "mo"})


@dataclass(frozen=True, slots=True)
class Rendered:
    """A template's text and the locale whose template it is; `is_builtin` when the configured one failed."""

    text: str
    locale: str
    is_builtin: bool = False


def check(source: str) -> None:
    """Raise InvalidInputError, naming line and reason, unless the template is safe and renders with and without values."""
    for values in (SAMPLE, dict.fromkeys(SAMPLE, "")):
        if not _render(source, values):
            raise InvalidInputError("the template may render to nothing", code="INVALID_TEMPLATE")


def preview(source: str, values: Mapping[str, str] | None = None) -> str:
    """Return what a customer would read, with sample values for what is not given; raise InvalidInputError like `check`."""
    return _render(source, {**SAMPLE, **(values or {})})


def render(by_locale: Mapping[str, str], locale: str | None, values: Mapping[str, str]) -> Rendered:
    """Return the customer's greeting. Never fails: where the configured template does, the built-in one goes out.

    `values` are customer text: cleaned and cut to 64 characters here. Unknown ones are ignored, missing ones are empty.
    """
    chosen = locale_for(locale, by_locale)
    given = {**dict.fromkeys(SAMPLE, ""), **_DEFAULTS, **{name: values[name] for name in values if name in SAMPLE}}
    if chosen in by_locale:
        try:
            text = _render(by_locale[chosen], given)
        except InvalidInputError:
            text = ""
        if text:
            return Rendered(text, chosen)
    builtin = locale_for(locale, DEFAULT_TEMPLATES)
    return Rendered(DEFAULT_TEMPLATES[builtin], builtin, is_builtin=True)


def locale_for(locale: str | None, available: Mapping[str, str]) -> str:
    """Return the available locale that serves this one: itself, its script's, its language's, else zh-CN."""
    known = {one.lower(): one for one in available}
    parts = [part for part in (locale or "").replace("_", "-").lower().split("-") if part]
    wanted = ["-".join(parts[:count]) for count in range(len(parts), 0, -1)]
    if parts and parts[0] == "zh":
        # The script outweighs the region's own name: Hong Kong reads Taiwan's characters, Singapore the mainland's.
        wanted[len(wanted) - 1 :] = ["zh-tw" if _TRADITIONAL & set(parts) else "zh-cn", "zh"]
    return next((known[one] for one in wanted if one in known), FALLBACK_LOCALE)


@lru_cache(maxsize=256)
def parsed(source: str) -> nodes.Template:
    """Return the parsed template; raise InvalidInputError when it is too long, wrong, or uses what is not offered."""
    if len(source) > MAX_TEMPLATE_CHARACTERS:
        raise InvalidInputError(f"a template has at most {MAX_TEMPLATE_CHARACTERS} characters", code="INVALID_TEMPLATE")
    try:
        tree = _environment().parse(source)
    except TemplateSyntaxError as error:
        raise InvalidInputError(f"line {error.lineno}: {error.message}", code="INVALID_TEMPLATE") from None
    except (RecursionError, MemoryError):
        raise InvalidInputError("the template is nested too deeply", code="INVALID_TEMPLATE") from None
    for node in _walk(tree):
        _check_node(node)
    return tree


def _walk(tree: nodes.Template) -> list[nodes.Node]:
    """Return all nodes, without recursion: depth is the author's choice."""
    found: list[nodes.Node] = []
    open_nodes: list[nodes.Node] = [tree]
    while open_nodes:
        node = open_nodes.pop()
        found.append(node)
        open_nodes.extend(node.iter_child_nodes())
    return found


def _check_node(node: nodes.Node) -> None:
    refusal = None
    if not isinstance(node, _ALLOWED):
        refusal = f"{type(node).__name__.lower()} is not offered in templates"
    elif isinstance(node, nodes.Name) and (node.name not in SAMPLE or node.ctx != "load"):
        refusal = f"there is no variable {node.name[:40]!r}; there are {', '.join(SAMPLE)}"
    elif isinstance(node, nodes.Filter) and node.name not in _FILTERS:
        refusal = f"there is no filter {node.name[:40]!r}; there are {', '.join(sorted(_FILTERS))}"
    if refusal is not None:
        raise InvalidInputError(f"line {node.lineno}: {refusal}", code="INVALID_TEMPLATE")


@lru_cache(maxsize=1)
def _environment() -> ImmutableSandboxedEnvironment:
    # No HTML escaping: this is a chat message, and whoever shows it as HTML escapes it there.
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
    environment.globals.clear()
    return environment


def _render(source: str, values: Mapping[str, str]) -> str:
    safe = {name: clean_line(value, MAX_VALUE_CHARACTERS) for name, value in values.items()}
    parsed(source)
    try:
        text = _compiled(source).render(safe)
    except (TemplateError, TypeError, ValueError, ArithmeticError, SyntaxError, RecursionError, MemoryError) as error:
        raise InvalidInputError(
            f"the template does not render: {type(error).__name__}", code="INVALID_TEMPLATE"
        ) from None
    return clean_text(text)[:MAX_OUTPUT_CHARACTERS]


@lru_cache(maxsize=256)
def _compiled(source: str) -> Template:
    return _environment().from_string(source)
