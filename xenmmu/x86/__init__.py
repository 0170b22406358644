"""Floor 1: one logical processor as far as paging sees it, and the arithmetic of recursive slots.

Knows Intel's and AMD's manuals (SDM vol. 3A, "Paging"; APM vol. 2, chapter 5); does not know who wrote the tables.
"""

from xenmmu.x86.cpu import Cpu as Cpu
from xenmmu.x86.history import History as History
from xenmmu.x86.history import Outcome as Outcome
from xenmmu.x86.mapping import Mapping as Mapping
from xenmmu.x86.mapping import Range as Range
from xenmmu.x86.names import *  # noqa: F403
from xenmmu.x86.slot import slot_base as slot_base
from xenmmu.x86.slot import slot_entry_va as slot_entry_va
from xenmmu.x86.slot import slot_target as slot_target
from xenmmu.x86.walk import Step as Step
from xenmmu.x86.walk import Walk as Walk
