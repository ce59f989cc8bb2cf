"""Reads a scrape with Prometheus's own client. Ends with 77 where that is not installed."""

from __future__ import annotations

import sys
from pathlib import Path

try:
    from prometheus_client.openmetrics.parser import text_string_to_metric_families
except ImportError:
    sys.exit(77)

families = list(text_string_to_metric_families(Path(sys.argv[1]).read_text(encoding="utf-8")))
assert len(families) > 30, families
for family in families:
    assert family.name.startswith("latent_"), family
    assert family.documentation.endswith("."), family
    assert family.type in ("counter", "gauge", "histogram", "info"), family
    assert not family.name.endswith("_seconds") or family.unit == "seconds", family
    for sample in family.samples:
        assert sample.value == sample.value, f"{sample} is no number"
