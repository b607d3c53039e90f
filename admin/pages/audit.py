"""The audit log: searched, checked for gaps, exported."""

import csv
import io
import json
from typing import Annotated, Any

from fastapi import Depends
from fastapi.responses import Response

from admin.forms import moment, query_without, storable, whole
from admin.web import Visit, pages, signed_in
from services import audit
from services.permissions import Permission

router = pages("/audit")

Auditor = Annotated[Visit, Depends(signed_in(Permission.READ_AUDIT_LOG))]
SHOWN = 50
EXPORTED_MOST = 10_000
COLUMNS = ("id", "at", "actor", "action", "subject", "origin", "before", "after", "details")


@router.get("")
def listed(visit: Auditor) -> Response:
    found = audit.listed(**_filter(visit), before=whole(visit.query.get("before")), limit=SHOWN + 1)
    rows = found[:SHOWN]
    return visit.page(
        "audit.html",
        rows=rows,
        query=visit.query,
        kept=query_without(visit.query, "before", "done", "check"),
        next_before=rows[-1].id if len(found) > SHOWN else None,
        checked="check" in visit.query,
        broken=audit.first_broken() if "check" in visit.query else None,
        most=EXPORTED_MOST,
    )


@router.get("/export.csv")
def export(visit: Auditor) -> Response:
    """Answer what the filter means as a table for spreadsheets, newest first."""
    found = audit.listed(**_filter(visit), before=None, limit=EXPORTED_MOST)
    text = io.StringIO()
    # The mark lets spreadsheets read Chinese texts.
    text.write("\ufeff")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows([_cell(getattr(entry, name)) for name in COLUMNS] for entry in found)
    headers = {"Content-Disposition": 'attachment; filename="audit-log.csv"', "Cache-Control": "no-store"}
    return Response(text.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)


def _filter(visit: Visit) -> dict[str, Any]:
    query = visit.query
    return {
        "actor": storable(query.get("actor")),
        "action": storable(query.get("action")),
        "subject": storable(query.get("subject")),
        "since": moment(query.get("from")),
        "until": moment(query.get("to")),
    }


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)
    # A spreadsheet takes a text that begins like a formula for one (OWASP, CSV injection).
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
