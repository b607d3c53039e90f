"""What each tool answers, from stored rows; refusals by identity, role and tier."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from core.clock import utc_now
from core.database import unit_of_work
from models import (
    Appointment,
    ConsultationRecord,
    Journey,
    Message,
    SenderType,
    TreatmentProject,
    TreatmentRecord,
    User,
)
from queries import customer_records
from services import mcp_groups, mcp_settings
from services.mcp_groups import GroupChange
from tests.mcp_server.support import Client, RunningServer, group_id, logged, rows
from tests.support.factories import create_conversation, create_journey, create_user
from tests.support.waiting import wait_until


def project(code: str) -> TreatmentProject:
    with unit_of_work() as session:
        found = customer_records.find_project(session, code)
    assert found is not None
    return found


def add(*rows_to_add: object) -> None:
    with unit_of_work() as session:
        session.add_all(rows_to_add)


def tomorrow_at(hour: int) -> datetime:
    return (utc_now().astimezone(ZoneInfo("Asia/Shanghai")) + timedelta(days=1)).replace(
        hour=hour, minute=0, second=0, microsecond=0
    )


def test_the_profile_of_the_journeys_customer_comes_by_its_handle(
    agent: Client, customer: User, journey: Journey
) -> None:
    profile = agent.call("get_user_profile", user_id=journey.handle)
    assert profile == {
        "user_id": journey.handle,
        "username": "小美",
        "email": "mei@example.com",
        "roles": ["customer"],
        "is_active": True,
        "registration_time": customer.registered_at.isoformat(),
        "is_new_user": True,
        "primary_role": "customer",
        "source": "wechat",
        "locale": "zh-CN",
        "interests": ["skin"],
    }
    detailed = agent.call("get_user_profile", user_id=journey.handle, include_details=True)
    assert (detailed["phone"], detailed["avatar"]) == ("+8613800001111", "https://a/b.png")
    assert detailed["last_updated"]
    assert [row["journey_id"] for row in logged(2)] == [journey.id, journey.id]


def test_who_registered_a_day_ago_is_not_new(agent: Client) -> None:
    user = create_user(registered_at=utc_now() - timedelta(hours=24, seconds=1))
    assert agent.call("get_user_profile", user_id=create_journey(user=user).handle)["is_new_user"] is False


@pytest.mark.parametrize(
    ("roles", "own", "expected"),
    [
        (["customer", "admin"], "customer", "customer"),
        (["customer", "operator"], None, "operator"),
        (["doctor", "consultant"], None, "consultant"),
        (["customer", "doctor", "admin"], None, "admin"),
        ([], None, "customer"),
    ],
)
def test_the_primary_role_is_the_users_own_then_by_precedence(
    agent: Client, roles: list[str], own: str | None, expected: str
) -> None:
    journey = create_journey(user=create_user(roles=roles, primary_role=own))
    assert agent.call("get_user_profile", user_id=journey.handle)["primary_role"] == expected


def test_the_welcome_agent_gets_nobody_by_id_and_nobody_by_a_guess(
    agent: Client, customer: User, journey: Journey
) -> None:
    assert customer.external_id
    for reference in (customer.external_id, str(customer.id), "jrn_" + "A" * 24, "admin", "' OR 1=1 --"):
        answer = agent.refused("get_user_profile", user_id=reference)
        assert answer == {"error": "User not found", "error_code": "USER_NOT_FOUND"}
    assert [row["journey_id"] for row in logged(5)] == [None] * 5


def test_an_expired_handle_opens_nothing_but_tells_the_log_its_journey(agent: Client, customer: User) -> None:
    late = create_journey(user=customer, handle_expires_at=utc_now() - timedelta(seconds=1))
    never = create_journey(handle_expires_at=None)
    for journey in (late, never):
        assert agent.refused("get_user_profile", user_id=journey.handle)["error_code"] == "USER_NOT_FOUND"
    assert [(row["journey_id"], row["outcome"]) for row in logged(2)] == [(late.id, "error"), (never.id, "error")]


def test_a_group_that_accepts_ids_gets_users_by_external_and_own_id(server: RunningServer, customer: User) -> None:
    doctor = server.client("medical_tools")
    assert doctor.call("patient_analysis", user_id=customer.external_id)["treatments"] == 0
    assert doctor.call("patient_analysis", user_id=str(customer.id))["treatments"] == 0


def test_an_analysis_changes_with_the_facts(agent: Client, customer: User, journey: Journey) -> None:
    fresh = agent.call("analyze_customer", user_id=journey.handle, analysis_type="predictive")
    assert (fresh["customer_segment"], fresh["engagement_level"]) == ("new_registration", "low")
    assert [one["project_code"] for one in fresh["recommendations"]] == [
        "hydra-basic",
        "photo-rejuvenation",
        "pico-laser",
    ]
    assert (fresh["churn_probability"], fresh["risk_profile"]["level"]) == (0.0, "low")
    assert fresh["next_best_action"] == "offer_consultation:hydra-basic"

    conversation = create_conversation(customer=customer)
    at = datetime(2026, 11, 1, 13, 30, tzinfo=ZoneInfo("Asia/Shanghai"))
    for _ in range(5):
        add(
            Message(
                conversation_id=conversation.id,
                sender_type=SenderType.CUSTOMER,
                content={"type": "text", "text": "?"},
                created_at=at,
            )
        )
    bought = project("thermage")
    add(
        TreatmentRecord(
            customer_id=customer.id,
            project_id=bought.id,
            doctor="林医生",
            notes="ok",
            reactions=["红肿"],
            paid_yuan=26_800,
            performed_at=utc_now() - timedelta(days=1),
        ),
        Appointment(
            customer_id=customer.id, project_id=project("hydra-basic").id, starts_at=tomorrow_at(10), created_by="test"
        ),
    )
    known = agent.call("analyze_customer", user_id=journey.handle, analysis_type="predictive")
    assert (known["customer_segment"], known["engagement_level"]) == ("vip", "high")
    assert known["behavior_pattern"]["messages_written"] == 5
    assert known["optimal_contact_time"] == {"hour": 13, "time_zone": "Asia/Shanghai", "basis": "messages"}
    assert known["risk_profile"] == {"level": "high", "reasons": ["reacted with: 红肿"]}
    assert known["lifetime_value_prediction"]["yuan"] == 26_800 + round((680 + 1580) / 2 * 0.8)
    assert known["next_best_action"] == "confirm_appointment"


def test_each_type_of_analysis_adds_to_the_one_before(agent: Client, journey: Journey) -> None:
    basic = agent.call("analyze_customer", user_id=journey.handle)
    detailed = agent.call("analyze_customer", user_id=journey.handle, analysis_type="detailed")
    predictive = agent.call("analyze_customer", user_id=journey.handle, analysis_type="predictive")
    assert set(detailed) - set(basic) == {"risk_profile", "lifetime_value_prediction", "churn_probability"}
    assert set(predictive) - set(detailed) == {"next_best_action", "optimal_contact_time", "personalization_strategy"}


def test_conversation_data_is_the_newest_conversations(agent: Client, customer: User, journey: Journey) -> None:
    assert agent.call("get_conversation_data", user_id=journey.handle)["conversation"] is None
    conversation = create_conversation(customer=customer, journey_id=journey.id)
    for number in range(3):
        add(
            Message(
                conversation_id=conversation.id,
                sender_type=SenderType.AI,
                content={"type": "text", "text": f"{number}"},
                created_at=utc_now() + timedelta(seconds=number),
            )
        )
    data = agent.call("get_conversation_data", user_id=journey.handle, limit=2)
    assert data["conversation"]["conversation_id"] == str(conversation.id)
    assert [message["content"]["text"] for message in data["messages"]] == ["1", "2"]


def test_business_metrics_are_counted(agent: Client, customer: User, journey: Journey) -> None:
    create_user(source="douyin", registered_at=utc_now() - timedelta(days=30))
    metrics = agent.call("get_business_metrics", days=7)
    assert (metrics["registrations"], metrics["registrations_by_source"]) == (1, {"wechat": 1})
    assert metrics["journeys"] == {"accepted": 1}
    assert agent.call("get_business_metrics", days=60)["registrations"] == 2


def test_projects_are_found_by_what_is_asked(server: RunningServer) -> None:
    customers = server.client("project_tools")
    found = customers.call("basic_inquiry", question="我想了解皮秒激光的价格")
    assert found["answers"][0]["project_code"] == "pico-laser"
    assert customers.call("basic_inquiry", question="qwzx")["answers"] == []
    assert [one["project_code"] for one in customers.call("service_info", project_code="botulinum")["projects"]] == [
        "botulinum"
    ]
    assert len(customers.call("service_info")["projects"]) == 8
    assert customers.refused("service_info", project_code="none")["error_code"] == "PROJECT_NOT_FOUND"


def test_a_slot_is_booked_once_and_the_same_booking_is_the_same(server: RunningServer, journey: Journey) -> None:
    clinic = server.client("project_tools")
    slot = {"project_code": "hydra-basic", "starts_at": tomorrow_at(10).isoformat()}
    booked = clinic.call("appointment_booking", user_id=journey.handle, **slot)
    assert clinic.call("appointment_booking", user_id=journey.handle, **slot) == booked
    other = create_journey()
    assert clinic.refused("appointment_booking", user_id=other.handle, **slot)["error_code"] == "SLOT_TAKEN"
    assert rows("SELECT count(*) FROM appointments") == [(1,)]
    assert clinic.refused("appointment_booking", user_id=other.handle, action="cancel", **slot)["error_code"] == (
        "APPOINTMENT_NOT_FOUND"
    )
    clinic.call("appointment_booking", user_id=journey.handle, action="cancel", **slot)
    assert clinic.call("appointment_booking", user_id=other.handle, **slot)["status"] == "booked"
    listed = clinic.call("appointment_booking", user_id=journey.handle, action="list")["appointments"]
    assert [one["status"] for one in listed] == ["cancelled"]
    figures = {one["code"]: one for one in clinic.call("get_project_metrics")["projects"]}
    assert (figures["hydra-basic"]["booked"], figures["hydra-basic"]["cancelled"]) == (1, 1)


@pytest.mark.parametrize("hour", [8, 18])
def test_no_appointments_out_of_hours_or_in_the_past(server: RunningServer, journey: Journey, hour: int) -> None:
    clinic = server.client("project_tools")
    for at in (tomorrow_at(hour), tomorrow_at(10) - timedelta(days=2)):
        answer = clinic.refused(
            "appointment_booking", user_id=journey.handle, project_code="hydra-basic", starts_at=at.isoformat()
        )
        assert answer["error_code"] == "INVALID_INPUT"
    assert rows("SELECT count(*) FROM appointments") == [(0,)]


def test_a_plan_fits_goals_and_budget_and_is_kept(server: RunningServer, customer: User) -> None:
    consultant = server.client("consultation_tools")
    plan = consultant.call("plan_generation", user_id=customer.external_id, goals=["skin", "laser"], budget_yuan=5000)
    assert [item["project_code"] for item in plan["items"]] == ["photo-rejuvenation", "hydra-basic"]
    assert plan["total_max_yuan"] == 2680 + 1580
    add(ConsultationRecord(customer_id=customer.id, summary="谈了皮肤", outcome="interested"))
    history = consultant.call("consultation_history", user_id=customer.external_id)
    assert [one["plan_id"] for one in history["plans"]] == [plan["plan_id"]]
    assert [one["summary"] for one in history["consultations"]] == ["谈了皮肤"]
    assert consultant.call("customer_analysis", user_id=customer.external_id)["customer_segment"] == "prospect"


def test_records_speak_against_a_project(server: RunningServer, customer: User) -> None:
    add(
        TreatmentRecord(
            customer_id=customer.id,
            project_id=project("pico-laser").id,
            doctor="林医生",
            notes="轻微红肿",
            reactions=["瘢痕体质"],
            paid_yuan=2980,
            performed_at=utc_now() - timedelta(days=1),
        )
    )
    doctor = server.client("medical_tools")
    found = doctor.call("diagnosis_assist", user_id=customer.external_id, project_code="double-eyelid")
    assert [finding["kind"] for finding in found["findings"]] == ["contraindication", "recovery"]
    assert doctor.call("patient_analysis", user_id=customer.external_id)["in_recovery"] is True
    records = doctor.call("medical_records", user_id=customer.external_id)["records"]
    assert [record["notes"] for record in records] == ["轻微红肿"]


def test_an_acting_user_needs_the_groups_role_and_tier(server: RunningServer, customer: User) -> None:
    doctors = server.client("medical_tools")
    doctor = create_user(roles=["doctor"], primary_role="doctor")
    consultant = create_user(roles=["consultant"], primary_role="consultant")
    retired = create_user(roles=["doctor"], primary_role="doctor", is_active=False)
    asked = {"name": "patient_analysis", "arguments": {"user_id": customer.external_id}}

    def outcome(acting: str | None) -> bool:
        headers = {"x-acting-user": acting} if acting else {}
        return bool(doctors.rpc("tools/call", asked, headers=headers).json()["result"]["isError"])

    assert [outcome(user.external_id) for user in (doctor, consultant, retired, customer)] == [False, True, True, True]
    assert outcome(None) is False
    assert [row["error_code"] for row in logged(5)] == [
        None,
        "ROLE_NOT_ALLOWED",
        "USER_INACTIVE",
        "TIER_NOT_ALLOWED",
        None,
    ]


def test_a_customers_handle_does_not_open_internal_tools(server: RunningServer, journey: Journey) -> None:
    answer = server.client("medical_tools").refused("medical_records", user_id=journey.handle)
    assert answer["error_code"] == "TIER_NOT_ALLOWED"


def test_changes_of_the_system_need_an_acting_administrator(server: RunningServer, customer: User) -> None:
    system = server.client("system_tools")
    asked = {"action": "deactivate", "user_id": customer.external_id}
    assert system.refused("user_management", **asked)["error_code"] == "ADMIN_REQUIRED"
    assert rows("SELECT is_active FROM users WHERE id = %s", customer.id) == [(True,)]
    boss = create_user(username="boss", roles=["admin"], primary_role="admin")
    system.headers["x-acting-user"] = boss.external_id or ""
    assert system.call("user_management", **asked)["is_active"] is False
    assert rows("SELECT actor, action FROM audit_log WHERE subject LIKE 'user:%%'") == [("boss", "user.deactivated")]


def test_system_tools_read_and_restore_settings(server: RunningServer) -> None:
    system = server.client("system_tools")
    mcp_settings.change({"calls_per_minute": 111}, actor="test")
    mcp_settings.change({"calls_per_minute": 222}, actor="test")
    wait_until(lambda: system.call("system_config", family="mcp")["mcp"]["version"] == 2)
    assert system.call("user_management")["users"] == 0
    assert system.call("user_management", action="find", text="zz")["users"] == []
    assert system.call("backup_restore")["database_size_bytes"] > 1_000_000
    restore = {"action": "restore", "family": "mcp", "version": 1}
    assert system.refused("backup_restore", **restore)["error_code"] == "ADMIN_REQUIRED"
    assert mcp_settings.current().calls_per_minute == 222
    system.headers["x-acting-user"] = create_user(roles=["admin"]).external_id or ""
    assert system.call("backup_restore", **restore)["version"] == 3
    assert mcp_settings.current().calls_per_minute == 111
    versions = system.call("backup_restore", action="versions", family="mcp")["versions"]
    assert [one["version"] for one in versions] == [3, 2, 1]


def test_a_group_may_be_opened_for_plain_ids(server: RunningServer, agent: Client, customer: User) -> None:
    mcp_groups.change(group_id("customer_tools"), GroupChange(accepts_user_ids=True), actor="test")
    wait_until(
        lambda: not agent.call_raw("get_user_profile", {"user_id": customer.external_id})["result"]["isError"],
        timeout_seconds=1,
    )
