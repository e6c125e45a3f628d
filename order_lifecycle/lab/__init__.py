"""What the notebooks import: servers and workers, tables, pictures, waiting, and checks of the exercises."""

from order_lifecycle.lab.check import check_cancelled, check_refunds, check_running, check_shipped
from order_lifecycle.lab.history import history
from order_lifecycle.lab.links import link
from order_lifecycle.lab.source import source
from order_lifecycle.lab.states import state_diagram
from order_lifecycle.lab.tables import changes, state_of, table
from order_lifecycle.lab.timeline import timeline
from order_lifecycle.lab.waiting import LabError, wait_for_state, wait_until
from order_lifecycle.lab.world import doctor, start_worker, up

__all__ = [
    "LabError",
    "changes",
    "check_cancelled",
    "check_refunds",
    "check_running",
    "check_shipped",
    "doctor",
    "history",
    "link",
    "source",
    "start_worker",
    "state_diagram",
    "state_of",
    "table",
    "timeline",
    "up",
    "wait_for_state",
    "wait_until",
]
