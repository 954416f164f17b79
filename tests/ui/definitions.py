"""The definitions that the site's code server loads: the pipeline's own, on a clock that a test can move.

Days pass in seconds on this clock, so the sensors may tick as often: Dagster lets a sensor rest for its interval even
where it was switched off and on again.
"""

from __future__ import annotations

import os

import dagster as dg

from pipeline.alerts import SENSOR as ALERTS
from pipeline.definitions import build_definitions
from pipeline.sensors import SENSOR
from tests.plant import ManualClock

INTERVAL_SECONDS = 3

defs = build_definitions(clock=ManualClock(file=os.environ["INSIGHTS_TEST_CLOCK"]))
for sensor in defs.sensors or ():
    if isinstance(sensor, dg.SensorDefinition) and sensor.name in (SENSOR, ALERTS):
        sensor._min_interval = INTERVAL_SECONDS
