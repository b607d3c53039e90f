"""Templates and static files: one environment a language, and files served under names that change with their content."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from admin import charts, i18n, words
from admin.i18n import Language

FOLDER = Path(__file__).parent
TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class StaticFile:
    body: bytes
    media_type: str
    version: str


def draw(language: Language, template: str, context: Mapping[str, Any]) -> str:
    """Return the template drawn in this language."""
    return _environment(language.code).get_template(template).render(context)


@lru_cache(maxsize=1)
def static_files() -> dict[str, StaticFile]:
    """Return what may be served: exactly the files of the folder, read once."""
    found = {}
    for path in sorted((FOLDER / "static").iterdir()):
        if path.suffix in TYPES:
            body = path.read_bytes()
            found[path.name] = StaticFile(body, TYPES[path.suffix], hashlib.sha256(body).hexdigest()[:12])
    return found


def static_url(name: str) -> str:
    return f"/admin/static/{name}?v={static_files()[name].version}"


@lru_cache(maxsize=4)
def _environment(code: str) -> Environment:
    language = i18n.languages()[code]
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    environment.install_gettext_callables(  # type: ignore[attr-defined] # added by the extension
        language.gettext, language.ngettext, newstyle=True
    )
    environment.globals |= {
        "language": language,
        "languages": i18n.languages(),
        "zone": i18n.ZONE_NAME,
        "static": static_url,
        "charts": charts,
    }
    environment.filters |= {
        "number": language.number,
        "share": language.share,
        "duration": language.duration,
        "local": i18n.local,
        "clock": lambda at: i18n.local(at, "%H:%M:%S"),
        "iso": _iso,
        "word": lambda value: language.gettext(words.WORDS.get(str(value), str(value))),
        "pretty": _pretty,
    }
    return environment


def _iso(at: datetime | None) -> str:
    return at.isoformat(timespec="milliseconds") if at is not None else ""


def _pretty(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2, default=str)
