import asyncio, json, sys
sys.path[:0]=["/work/main/tests","/work/main/tests/workflows"]
from datetime import timedelta
import shop as S
from order_lifecycle.domain import Policy
from order_lifecycle.workflows.order import OrderWorkflow
from test_signals import ELSEWHERE

async def test_x(shop):
    async with shop.working("order", "shipping"):
        order = await shop.start_until("review")
        await shop.env.sleep(timedelta(days=2))
        await order.signal(OrderWorkflow.update_address, ELSEWHERE)
        await S.until(lambda: {"address_changed", "late_signal"} & set(shop.events()))
        h = await order.fetch_history()
        for e in h.events:
            a = e.activity_task_scheduled_event_attributes
            print(e.event_time.ToDatetime(), e.event_type, a.activity_type.name, a.schedule_to_close_timeout.ToTimedelta())
        await order.signal(OrderWorkflow.approve_order)
        await order.result()
