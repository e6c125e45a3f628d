"""Add triggers that keep what is written: events, payments, and most columns of an order.

No step of an order breaks these rules. They apply to the owner of the tables, too, unless the owner switches the
triggers off.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# An AFTER trigger does not run for an event that exists already, because of ON CONFLICT DO NOTHING.
EVENTS = """
CREATE FUNCTION events_are_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'event % of order %: an event is neither changed nor deleted', OLD.id, OLD.order_id
        USING ERRCODE = 'check_violation', CONSTRAINT = 'events_are_kept';
END $$;
CREATE TRIGGER events_are_kept BEFORE UPDATE OR DELETE ON events
    FOR EACH ROW EXECUTE FUNCTION events_are_kept();

CREATE FUNCTION no_new_address_after_dispatch() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    its_state text;
BEGIN
    SELECT state INTO its_state FROM orders WHERE id = NEW.order_id;
    IF its_state IN ('dispatched', 'shipped', 'cancelled', 'failed') THEN
        RAISE EXCEPTION 'order % is %: its address cannot change any more', NEW.order_id, its_state
            USING ERRCODE = 'check_violation', CONSTRAINT = 'no_new_address_after_dispatch';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER no_new_address_after_dispatch AFTER INSERT ON events
    FOR EACH ROW WHEN (NEW.type = 'address_changed') EXECUTE FUNCTION no_new_address_after_dispatch();

ALTER TABLE events ADD CONSTRAINT events_step_is_of_its_type
    CHECK (step = type OR starts_with(step, type || '#'));
"""

ORDERS = """
CREATE FUNCTION orders_are_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.id, NEW.items, NEW.created_at) IS DISTINCT FROM (OLD.id, OLD.items, OLD.created_at) THEN
        RAISE EXCEPTION 'order %: only its state and its address can change', OLD.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'orders_are_kept';
    END IF;
    IF NEW.address_json IS DISTINCT FROM OLD.address_json
        AND OLD.state IN ('dispatched', 'shipped', 'cancelled', 'failed')
    THEN
        RAISE EXCEPTION 'order % is %: its address cannot change any more', OLD.id, OLD.state
            USING ERRCODE = 'check_violation', CONSTRAINT = 'no_new_address_after_dispatch';
    END IF;
    NEW.updated_at = now();
    RETURN NEW;
END $$;
CREATE TRIGGER orders_are_kept BEFORE UPDATE ON orders
    FOR EACH ROW EXECUTE FUNCTION orders_are_kept();

CREATE FUNCTION orders_begin_as_received() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'order %: an order begins as received, not as %', NEW.id, NEW.state
        USING ERRCODE = 'check_violation', CONSTRAINT = 'orders_begin_as_received';
END $$;
CREATE TRIGGER orders_begin_as_received AFTER INSERT ON orders
    FOR EACH ROW WHEN (NEW.state <> 'received') EXECUTE FUNCTION orders_begin_as_received();

CREATE FUNCTION items_can_be_sold() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    item jsonb;
    qty numeric;
    price numeric;
BEGIN
    FOR item IN SELECT jsonb_array_elements(NEW.items) LOOP
        qty = item ->> 'qty';
        price = item ->> 'price';
        -- In PostgreSQL's order, NaN is above every number.
        IF (qty BETWEEN 1 AND 1e9 AND qty = trunc(qty) AND price BETWEEN 0 AND 1e9 AND price = round(price, 2))
            IS NOT TRUE
        THEN
            RAISE EXCEPTION 'order %: qty must be a whole number from 1 on and price an amount in cents, not %',
                NEW.id, item
                USING ERRCODE = 'check_violation', CONSTRAINT = 'items_can_be_sold';
        END IF;
    END LOOP;
    RETURN NULL;
END $$;
CREATE TRIGGER items_can_be_sold AFTER INSERT OR UPDATE OF items ON orders
    FOR EACH ROW EXECUTE FUNCTION items_can_be_sold();
"""

PAYMENTS = """
CREATE FUNCTION payments_begin_as_charged() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'payment %: a payment begins as charged, not as %', NEW.payment_id, NEW.status
        USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_begin_as_charged';
END $$;
CREATE TRIGGER payments_begin_as_charged AFTER INSERT ON payments
    FOR EACH ROW WHEN (NEW.status = 'refunded') EXECUTE FUNCTION payments_begin_as_charged();
"""

# Without this, a function would look for its tables first among the temporary tables of the session that calls it.
SEARCH_PATH = """
DO $do$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['check_money(text)', 'no_new_address_after_dispatch()'] LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', name, current_schema());
    END LOOP;
END $do$
"""


def upgrade() -> None:
    for rules in (EVENTS, ORDERS, PAYMENTS, SEARCH_PATH):
        op.execute(rules)


def downgrade() -> None:
    op.execute("ALTER FUNCTION check_money(text) RESET search_path")
    op.execute("ALTER TABLE events DROP CONSTRAINT events_step_is_of_its_type")
    # CASCADE also drops the triggers that call these functions.
    for function in (
        "events_are_kept()",
        "no_new_address_after_dispatch()",
        "orders_are_kept()",
        "orders_begin_as_received()",
        "items_can_be_sold()",
        "payments_begin_as_charged()",
    ):
        op.execute(f"DROP FUNCTION {function} CASCADE")
