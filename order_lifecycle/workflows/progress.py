"""What an order has reached, and where others see it: queries, lists, the Web UI and the log."""

from __future__ import annotations

from datetime import datetime

from temporalio import workflow
from temporalio.common import SearchAttributeKey

from order_lifecycle.domain import (
    TERMINAL,
    Address,
    Order,
    OrderState,
    OrderStatus,
    clean_reason,
    total,
)

ORDER_STATE = SearchAttributeKey.for_keyword("OrderState")
ORDER_TOTAL = SearchAttributeKey.for_float("OrderTotal")
LONGEST_ERROR_LIST = 10


class Progress:
    """The state of an order, and the step that it takes now."""

    def __init__(self, order: Order, deadline: datetime) -> None:
        self.state: OrderState | None = None  # None until the order is in the database
        self.step = "starting"
        self.waiting_for = "an order worker"
        self.deadline: datetime | None = deadline
        self.shipping_tries = 0
        self.errors: list[str] = []
        self.end_reason: str | None = None
        self._order = order

    @property
    def has_ended(self) -> bool:
        """Return True if the order is shipped, cancelled or failed."""
        return self.state in TERMINAL

    def set_step(self, step: str, waiting_for: str, deadline: datetime | None) -> None:
        """Note the step that begins now, and show it in the Web UI."""
        self.step, self.waiting_for, self.deadline = step, waiting_for, deadline
        self._show_in_web_ui()

    def set_state(self, state: OrderState) -> None:
        """Note the state that the order has now, and show it in the log, in lists and in the UI."""
        before, self.state = self.state, state
        workflow.logger.info(
            "order moved", extra={"before": before and before.value, "after": state.value}
        )
        workflow.upsert_search_attributes(
            [ORDER_STATE.value_set(state), ORDER_TOTAL.value_set(float(total(self._order.items)))]
        )
        self._show_in_web_ui()

    def add_error(self, why: str) -> None:
        """Remember why a try at shipping failed. Only the last ones are kept."""
        self.errors = [*self.errors, clean_reason(why)][-LONGEST_ERROR_LIST:]

    def status(self, address: Address) -> OrderStatus:
        """Return the answer to the query `status`."""
        return OrderStatus(
            order_id=self._order.id,
            state=self.state,
            step=self.step,
            waiting_for=None if self.has_ended else self.waiting_for,
            address=address,
            total=total(self._order.items),
            deadline=None if self.has_ended else self.deadline,
            shipping_tries=self.shipping_tries,
            errors=tuple(self.errors),
            reason=self.end_reason,
        )

    def _show_in_web_ui(self) -> None:
        if self.has_ended:
            why = f": {self.end_reason}" if self.end_reason else ""
            workflow.set_current_details(f"{self.state}{why}")
        else:
            workflow.set_current_details(
                f"{self.state or 'new'}: {self.step}, waits for {self.waiting_for}"
            )
