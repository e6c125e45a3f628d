"""Show the metrics that a worker serves for Prometheus."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.request import urlopen

from order_lifecycle.lab.process import LabProcess
from order_lifecycle.lab.waiting import LabError

if TYPE_CHECKING:
    import pandas as pd

SERIES = re.compile(r"(?P<metric>\w+)\{(?P<labels>.*)\} (?P<value>\S+)")
LABEL = re.compile(r'(\w+)="([^"]*)"')
# These labels have the same value in every metric of a worker.
HIDDEN_LABELS = {"namespace", "service_name", "task_queue", "workflow_type"}


def metrics(worker: LabProcess) -> pd.DataFrame:
    """Return what a worker counts and measures, as a DataFrame with one row a metric.

    Of a histogram it has the sum and the count, not the buckets.

    Raises:
        LabError: If the worker serves no metrics.
    """
    import pandas as pd

    address = worker.environment.get("METRICS_ADDRESS")
    if address is None:
        raise LabError(f"the {worker.name} serves no metrics: start it with `metrics=True`")
    with urlopen(f"http://{address}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    rows = [
        [
            found["metric"],
            ", ".join(
                value for name, value in LABEL.findall(found["labels"]) if name not in HIDDEN_LABELS
            ),
            float(found["value"]),
        ]
        for found in SERIES.finditer(text)
        if not found["metric"].endswith("_bucket")
    ]
    return pd.DataFrame(rows, columns=["metric", "about", "value"])
