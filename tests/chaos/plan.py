"""The plan of a chaos run, drawn from the seed before the run starts.

The plan cannot decide how far an order has come when an event happens.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from random import Random
from typing import Literal

from order_lifecycle.domain import Address, Item, Order, Policy

Way = Literal["signal", "update", "temporal"]

SMALL_BUDGET = 0.2  # share of the orders that are not given enough time, so that some of them fail
CANCELLED = 0.2  # share of the orders that somebody asks to cancel
MOVED = 0.25  # share of the orders that get a new address, or two
AT_ANY_MOMENT = 5.0  # s; most orders have ended by then


@dataclass(frozen=True)
class Request:
    """A client's request to an order, `after` so many seconds from its start."""

    after: float
    way: Way


@dataclass(frozen=True)
class Move(Request):
    to: Address


@dataclass(frozen=True)
class Customer:
    """An order, and all requests to it."""

    begin: float  # seconds from the beginning of the run
    order: Order
    policy: Policy
    patient: bool  # whether the budget is large enough to ship through all of it
    approve: Request
    cancel: Request | None
    moves: tuple[Move, ...]


@dataclass(frozen=True)
class Blow:
    """A failure of a worker or a server."""

    at: float  # seconds from the beginning of the run
    target: Literal["order worker", "shipping worker", "PostgreSQL", "Temporal"]
    how: Literal["SIGKILL", "SIGTERM", "fast", "immediate"]
    down: float = 0.0  # seconds until a server is started again; a worker is replaced at once
    number: int = 0  # which one of the workers


@dataclass(frozen=True)
class Plan:
    seed: int
    seconds: float
    customers: tuple[Customer, ...]
    blows: tuple[Blow, ...]


def make_plan(
    seed: int,
    orders: int,
    seconds: float,
    kill_every: float,
    postgres_every: float,
    temporal_every: float,
    workers: int,
) -> Plan:
    """Return orders and blows, spread over `seconds`. There is at least one blow of each kind."""
    # Three sources, so that more orders do not change the blows, nor the other way round.
    lives, kills, outages = (Random(f"{seed}/{what}") for what in ("orders", "kills", "outages"))
    customers = tuple(_customer(lives, number, seconds * number / orders) for number in range(orders))
    blows: list[Blow] = []
    for number, at in enumerate(_times(kills, seconds, kill_every)):
        target: Literal["order worker", "shipping worker"] = "shipping worker" if number % 3 == 2 else "order worker"
        blows.append(Blow(at, target, "SIGKILL", number=kills.randrange(workers)))
    for number, at in enumerate(_times(outages, seconds, postgres_every)):
        blows.append(Blow(at, "PostgreSQL", "fast" if number % 2 else "immediate", outages.uniform(0, 1.5)))
    for number, at in enumerate(_times(outages, seconds, temporal_every)):
        blows.append(Blow(at, "Temporal", "SIGTERM" if number % 2 else "SIGKILL", outages.uniform(0, 1.5)))
    return Plan(seed, seconds, customers, tuple(sorted(blows, key=lambda blow: blow.at)))


def _times(random: Random, seconds: float, every: float) -> list[float]:
    """Return one time in each stretch of `every` seconds."""
    return [(n + random.uniform(0.25, 0.75)) * every for n in range(max(1, round(seconds / every)))]


def _customer(random: Random, number: int, begin: float) -> Customer:
    name = f"{number:04}"
    items = [
        Item(name=f"thing {n}", qty=random.randint(1, 9), price=Decimal(random.randint(1, 9999)) / 100)
        for n in range(random.randint(1, 4))
    ]
    order = Order(id=f"c-{name}", payment_id=f"pay-{name}", items=items, address=_address(f"{number} First St."))
    patient = random.random() >= SMALL_BUDGET
    policy = Policy() if patient else Policy(budget=timedelta(seconds=random.uniform(1, 6)))
    cancel = Request(random.uniform(0, AT_ANY_MOMENT), random.choice(("signal", "update", "temporal")))
    moves = [
        Move(random.uniform(0, AT_ANY_MOMENT), random.choice(("signal", "update")), _address(f"{number} {street} St."))
        for street in ("Second", "Third")
    ]
    return Customer(
        begin=begin,
        order=order,
        policy=policy,
        patient=patient,
        approve=Request(random.uniform(0, 1), random.choice(("signal", "update"))),
        cancel=cancel if random.random() < CANCELLED else None,
        moves=tuple(sorted(moves, key=lambda move: move.after))[: random.randint(1, 2) * (random.random() < MOVED)],
    )


def _address(street: str) -> Address:
    return Address(address=street, city="Columbus", state="OH", zipcode="43210")
