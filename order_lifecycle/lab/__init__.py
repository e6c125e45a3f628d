"""What the notebooks import: servers and workers, tables, pictures, waiting, and checks of the exercises."""

from order_lifecycle.faults import Faults
from order_lifecycle.lab.attempts import attempts
from order_lifecycle.lab.beside import as_shipped, time_skipping
from order_lifecycle.lab.check import check_cancelled, check_refunds, check_running, check_shipped
from order_lifecycle.lab.check_failures import check_failed_unpaid, check_retries
from order_lifecycle.lab.check_shipping import check_race, check_tries
from order_lifecycle.lab.check_waiting import check_answers, check_waited
from order_lifecycle.lab.check_workers import check_killed, check_safe_to_repeat
from order_lifecycle.lab.history import history
from order_lifecycle.lab.lessons import start_lesson_worker
from order_lifecycle.lab.links import link
from order_lifecycle.lab.source import source
from order_lifecycle.lab.states import state_diagram
from order_lifecycle.lab.tables import changes, state_of, table
from order_lifecycle.lab.timeline import timeline
from order_lifecycle.lab.waiting import LabError, wait_for_state, wait_until
from order_lifecycle.lab.workers import pending, who
from order_lifecycle.lab.world import doctor, start_worker, up

__all__ = [
    "Faults",
    "LabError",
    "as_shipped",
    "attempts",
    "changes",
    "check_answers",
    "check_cancelled",
    "check_failed_unpaid",
    "check_killed",
    "check_race",
    "check_refunds",
    "check_retries",
    "check_running",
    "check_safe_to_repeat",
    "check_shipped",
    "check_tries",
    "check_waited",
    "doctor",
    "history",
    "link",
    "pending",
    "source",
    "start_lesson_worker",
    "start_worker",
    "state_diagram",
    "state_of",
    "table",
    "time_skipping",
    "timeline",
    "up",
    "wait_for_state",
    "wait_until",
    "who",
]
