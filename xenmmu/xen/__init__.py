"""Floor 2: Xen 4.17's PV MMU, its domains, frame types and counts, hypercalls, roots and faults.

Names and encodings are those of Xen's public headers (xen/include/public/xen.h) and of xen/arch/x86/mm.c and
xen/arch/x86/include/asm/mm.h, branch stable-4.17.  A refusal by Xen is a value, :class:`Result`, whose ``rc`` is Xen's
error number and whose ``reason`` names the rule; exceptions are for misuse of this library, and for the faults of
``load``, ``store`` and ``fetch``.

It does not know what a guest does with its tables.
"""

from xenmmu.xen.domain import Call as Call
from xenmmu.xen.domain import Domain as Domain
from xenmmu.xen.hypervisor import Hypervisor as Hypervisor
from xenmmu.xen.hypervisor import captured_frames as captured_frames
from xenmmu.xen.names import *  # noqa: F403
