"""The stages of the pipeline, and what they are made of."""

import os

from stages.runtime.handover import ADDRESS, hand_over
from stages.runtime.interrupts import report_interrupts

report_interrupts()
if ADDRESS in os.environ:  # set by stages/cli/preload.py
    hand_over(os.environ.pop(ADDRESS))
