"""Create the tables orders, payments and events, and triggers for the rules that a CHECK cannot express."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from order_lifecycle.db.consent import require_consent

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

NOW = sa.text("now()")

# An order moves only to the next state. Before it is dispatched, it may also become cancelled or failed.
LEGAL_MOVES = """
CREATE FUNCTION order_moves_are_legal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.state, NEW.state) NOT IN (
        ('received', 'validated'), ('validated', 'awaiting_review'), ('awaiting_review', 'approved'),
        ('approved', 'charged'), ('charged', 'packed'), ('packed', 'dispatched'), ('dispatched', 'shipped')
    ) AND NOT (
        OLD.state IN ('received', 'validated', 'awaiting_review', 'approved', 'charged', 'packed')
        AND NEW.state IN ('cancelled', 'failed')
    ) THEN
        RAISE EXCEPTION 'order %: no move leads from % to %', OLD.id, OLD.state, NEW.state
            USING ERRCODE = 'check_violation', CONSTRAINT = 'order_moves_are_legal';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER order_moves_are_legal BEFORE UPDATE OF state ON orders
    FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION order_moves_are_legal();
"""

# A payment can become refunded. Nothing else of it changes, and it is never deleted.
PAYMENTS_ARE_KEPT = """
CREATE FUNCTION payments_are_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'payment %: only its status can change', OLD.payment_id
        USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_are_kept';
END $$;

CREATE TRIGGER payments_are_kept BEFORE DELETE OR UPDATE OF payment_id, order_id, amount ON payments
    FOR EACH ROW EXECUTE FUNCTION payments_are_kept();
"""

# PostgreSQL checks this when a transaction commits, so the order of the statements inside it does not matter. A charge
# needs a state such as `charged`, and such a state needs a charge. A transaction that writes only one of the two fails,
# so two transactions at the same time need no lock. A lock here could cause a deadlock.
MONEY_AGREES = """
CREATE FUNCTION check_money(the_order text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    o orders%ROWTYPE;
    p payments%ROWTYPE;
    due numeric;
BEGIN
    SELECT * INTO o FROM orders WHERE id = the_order;
    SELECT * INTO p FROM payments WHERE order_id = the_order;
    IF p.payment_id IS NOT NULL THEN
        SELECT sum((item ->> 'qty')::numeric * (item ->> 'price')::numeric) INTO due
            FROM jsonb_array_elements(o.items) AS item;
        IF p.amount IS DISTINCT FROM due THEN
            RAISE EXCEPTION 'order %: % is charged, and its items cost %', the_order, p.amount, due
                USING ERRCODE = 'check_violation', CONSTRAINT = 'charge_is_the_sum_of_the_items';
        END IF;
    END IF;
    IF o.state NOT IN ('charged', 'packed', 'dispatched', 'shipped') AND p.status = 'charged' THEN
        RAISE EXCEPTION 'order % is %, and has a live charge', the_order, o.state
            USING ERRCODE = 'check_violation', CONSTRAINT = 'no_charge_without_an_order';
    END IF;
    IF o.state IN ('charged', 'packed', 'dispatched', 'shipped') AND p.status IS DISTINCT FROM 'charged' THEN
        RAISE EXCEPTION 'order % is %, and has no live charge', the_order, o.state
            USING ERRCODE = 'check_violation', CONSTRAINT = 'no_shipment_without_a_charge';
    END IF;
END $$;

CREATE FUNCTION check_money_of_order() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM check_money(NEW.id); RETURN NULL; END $$;

CREATE FUNCTION check_money_of_payment() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM check_money(NEW.order_id); RETURN NULL; END $$;

CREATE CONSTRAINT TRIGGER money_agrees AFTER INSERT OR UPDATE OF state, items ON orders
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION check_money_of_order();
CREATE CONSTRAINT TRIGGER money_agrees AFTER INSERT OR UPDATE OF status ON payments
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION check_money_of_payment();
"""


def upgrade() -> None:
    op.create_table(
        "orders",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("items", postgresql.JSONB, nullable=False),
        sa.Column("address_json", postgresql.JSONB, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.CheckConstraint(
            "state IN ('received', 'validated', 'awaiting_review', 'approved', 'charged', 'packed', 'dispatched', "
            "'shipped', 'cancelled', 'failed')",
            name="orders_state_is_known",
        ),
        sa.CheckConstraint("jsonb_typeof(items) = 'array' AND items <> '[]'", name="orders_items_is_a_list"),
    )
    op.create_index("orders_by_state", "orders", ["state", "created_at"])
    op.create_table(
        "payments",
        sa.Column("payment_id", sa.Text, primary_key=True),
        sa.Column("order_id", sa.Text, sa.ForeignKey("orders.id"), nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("amount", sa.Numeric(10, 2), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.CheckConstraint("status IN ('charged', 'refunded')", name="payments_status_is_known"),
        sa.CheckConstraint("amount >= 0", name="payments_amount_is_not_negative"),
    )
    op.create_index("payments_one_an_order", "payments", ["order_id"], unique=True)
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("order_id", sa.Text, sa.ForeignKey("orders.id"), nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("step", sa.Text, nullable=False),
        sa.Column("payload_json", postgresql.JSONB, nullable=False),
        sa.Column("ts", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.CheckConstraint(
            "type IN ('order_received', 'order_validated', 'review_requested', 'order_approved', 'payment_charged', "
            "'package_prepared', 'carrier_dispatched', 'order_shipped', 'address_changed', 'dispatch_failed', "
            "'payment_refunded', 'order_cancelled', 'order_failed', 'late_signal')",
            name="events_type_is_known",
        ),
    )
    op.create_index("events_one_a_step", "events", ["order_id", "step"], unique=True)
    op.create_index("events_by_order", "events", ["order_id", "id"])
    op.execute(LEGAL_MOVES)
    op.execute(PAYMENTS_ARE_KEPT)
    op.execute(MONEY_AGREES)


def downgrade() -> None:
    require_consent(op, "orders", "payments", "events")
    for table in ("events", "payments", "orders"):
        op.drop_table(table)
    for function in (
        "check_money_of_payment()",
        "check_money_of_order()",
        "check_money(text)",
        "payments_are_kept()",
        "order_moves_are_legal()",
    ):
        op.execute(f"DROP FUNCTION {function}")
