"""Give notebooks what they import: servers, workers, tables, pictures, waiting and checks."""

from order_lifecycle.faults import Faults
from order_lifecycle.lab.checks.nb00_start_here import check_parts, check_running
from order_lifecycle.lab.checks.nb01_first_order import check_refused_fields, check_shipped
from order_lifecycle.lab.checks.nb02_signals import check_cancelled, check_moved
from order_lifecycle.lab.checks.nb03_queries_and_tables import check_pauses, check_refunds
from order_lifecycle.lab.checks.nb04_waiting_for_people import check_answers, check_waited
from order_lifecycle.lab.checks.nb05_when_things_fail import check_failed_unpaid, check_retries
from order_lifecycle.lab.checks.nb06_kill_the_worker import check_killed, check_safe_to_repeat
from order_lifecycle.lab.checks.nb07_shipping import check_race, check_tries
from order_lifecycle.lab.checks.nb08_money_back import check_cancelled_by_temporal, check_saga
from order_lifecycle.lab.checks.nb09_parcel_return import check_return
from order_lifecycle.lab.checks.nb09_testing import check_goes_on, check_test
from order_lifecycle.lab.checks.nb10_changing_running_code import (
    check_build,
    check_changes,
    check_patch,
)
from order_lifecycle.lab.checks.nb11_in_production import check_counted, check_query, check_settings
from order_lifecycle.lab.lessons import builds, promote, start_lesson_worker
from order_lifecycle.lab.links import link
from order_lifecycle.lab.replaying import goes_on
from order_lifecycle.lab.second_server import as_shipped, time_skipping
from order_lifecycle.lab.servers import doctor, start_worker, start_workers, up
from order_lifecycle.lab.source import source
from order_lifecycle.lab.testing import quiet, test_server
from order_lifecycle.lab.views.attempts import attempts
from order_lifecycle.lab.views.history import history
from order_lifecycle.lab.views.metrics import metrics
from order_lifecycle.lab.views.states import state_diagram
from order_lifecycle.lab.views.tables import changes, state_of, table
from order_lifecycle.lab.views.throughput import throughput
from order_lifecycle.lab.views.timeline import timeline
from order_lifecycle.lab.waiting import LabError, wait_for_state, wait_until, watch
from order_lifecycle.lab.workers import pending, who

__all__ = [
    "Faults",
    "LabError",
    "as_shipped",
    "attempts",
    "builds",
    "changes",
    "check_answers",
    "check_build",
    "check_cancelled",
    "check_cancelled_by_temporal",
    "check_changes",
    "check_counted",
    "check_failed_unpaid",
    "check_goes_on",
    "check_killed",
    "check_moved",
    "check_parts",
    "check_patch",
    "check_pauses",
    "check_query",
    "check_race",
    "check_refunds",
    "check_refused_fields",
    "check_retries",
    "check_return",
    "check_running",
    "check_safe_to_repeat",
    "check_saga",
    "check_settings",
    "check_shipped",
    "check_test",
    "check_tries",
    "check_waited",
    "doctor",
    "goes_on",
    "history",
    "link",
    "metrics",
    "pending",
    "promote",
    "quiet",
    "source",
    "start_lesson_worker",
    "start_worker",
    "start_workers",
    "state_diagram",
    "state_of",
    "table",
    "test_server",
    "throughput",
    "time_skipping",
    "timeline",
    "up",
    "wait_for_state",
    "wait_until",
    "watch",
    "who",
]
