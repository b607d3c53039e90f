"""The texts of the pages as the sources have them, for comparing them with the catalogues."""

from pathlib import Path

from babel.messages.extract import extract_from_dir

ADMIN = Path(__file__).parents[2] / "admin"
# Texts marked in Python: N_ where written to be shown later, the others where shown.
KEYWORDS = {"N_": None, "gettext": None, "_": None}


def texts_in_sources() -> set[str]:
    """Return every text that is marked for translation, in Python and in templates."""
    found = extract_from_dir(
        ADMIN,
        method_map=[("**.py", "python"), ("templates/**.html", "jinja2")],
        options_map={"templates/**.html": {"trimmed": "true", "silent": "false"}},
        keywords=KEYWORDS,
    )
    return {one[2] for one in found if isinstance(one[2], str)}
