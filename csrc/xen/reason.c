/*
 * reason.c - every rule by which Xen refuses, in one sentence, with the error number that Xen gives for it.
 *
 * Knows: names and numbers (Linux's, which are Xen's: xen/include/public/errno.h).  Does not know: when a rule applies.
 */
#include "xen.h"

enum {
	EPERM = 1,
	ESRCH = 3,
	EIO = 5,
	ENXIO = 6,
	E2BIG = 7,
	ENOMEM = 12,
	EACCES = 13,
	EFAULT = 14,
	EBUSY = 16,
	EINVAL = 22,
	EDOM = 33,
	ENOSYS = 38,
	EOPNOTSUPP = 95,
};

/* xen/include/public/grant_table.h */
enum {
	GNTST_GENERAL_ERROR = -1,
	GNTST_BAD_DOMAIN = -2,
	GNTST_BAD_GNTREF = -3,
	GNTST_BAD_HANDLE = -4,
	GNTST_BAD_VIRT_ADDR = -5,
	GNTST_BAD_DEV_ADDR = -6,
	GNTST_PERMISSION_DENIED = -8,
	GNTST_BAD_PAGE = -9,
	GNTST_EAGAIN = -12,
	GNTST_NO_SPACE = -13,
};

static const struct {
	int error;
	const char *text;
	int grant_status; /* what grant_table_op says of the one request; the hypercall itself goes on */
} rules[XM_R_KINDS] = {
	[XM_R_NONE] = {0, "not refused"},
	[XM_R_FOREIGNDOM_OWN_ID] = {ESRCH, "foreigndom is the caller's own id; the caller is DOMID_SELF"},
	[XM_R_FOREIGNDOM_UNKNOWN] = {ESRCH, "foreigndom names no domain"},
	[XM_R_PT_OWNER_UNKNOWN] = {ESRCH, "the upper half of foreigndom names no domain"},
	[XM_R_BAD_HANDLE] = {EFAULT, "a guest address that a hypercall reads or writes is not there"},
	[XM_R_UNKNOWN_COMMAND] = {ENOSYS, "no such command"},
	[XM_R_NOT_SUPPORTED] = {EOPNOTSUPP, "superpages do not exist for PV guests"},
	[XM_R_NO_PRIVILEGE] = {EPERM, "the caller has no privilege over that domain"},
	[XM_R_PTR_NOT_OWNED] = {EINVAL, "ptr is not in a page of the page tables' owner"},
	[XM_R_PTR_TYPE] = {EINVAL, "ptr is in a page whose type in use allows no update"},
	[XM_R_PT_UPDATE_FOREIGNDOM] = {EINVAL, "an update above level 1 must map the page tables' owner's own frames"},
	[XM_R_L4_SLOT_RESERVED] = {EINVAL, "slots 256 to 271 of an L4 are Xen's"},
	[XM_R_MACHPHYS_FOREIGN_PT] = {EPERM, "an M2P update cannot act for another page-table owner"},
	[XM_R_MACHPHYS_NOT_OWNED] = {EINVAL, "the frame of an M2P update is not foreigndom's"},
	[XM_R_L1_FLAGS] = {EINVAL, "a flag that this domain may not set in an L1 entry"},
	[XM_R_L2_FLAGS] = {EINVAL, "a flag that no L2 entry may have (PSE, PCD, PWT, G)"},
	[XM_R_L3_FLAGS] = {EINVAL, "a flag that no L3 entry may have (PSE, PCD, PWT, G)"},
	[XM_R_L4_FLAGS] = {EINVAL, "a flag that no L4 entry may have (PSE, PCD, PWT, G)"},
	[XM_R_MMIO_NOT_PERMITTED] = {EPERM, "the domain has no access to this MMIO or absent frame"},
	[XM_R_MMIO_INVALID_MFN] = {EINVAL, "the frame number is INVALID_MFN"},
	[XM_R_L1_NOT_OWNED] = {EBUSY, "an L1 entry maps a frame that foreigndom does not own"},
	[XM_R_L1_RW_TYPE_CONFLICT] = {EBUSY, "a writable mapping of a frame in use as something else"},
	[XM_R_L1_CACHE_ATTRIBUTE] = {EACCES, "a page of Xen's heap can only be mapped write-back"},
	[XM_R_TABLE_NOT_OWNED] = {EINVAL, "the table below is not a frame of the domain"},
	[XM_R_TYPE_CONFLICT] = {EINVAL, "the frame is in use as another type"},
	[XM_R_TYPE_COUNT_OVERFLOW] = {EINVAL, "the frame's type count would overflow"},
	[XM_R_DESCRIPTOR] = {EINVAL, "a descriptor that a guest may not have"},
	[XM_R_LINEAR_DISABLED] = {EINVAL, "linear page tables are switched off"},
	[XM_R_LINEAR_WRITABLE] = {EINVAL, "a linear entry must be read-only (XSA-182)"},
	[XM_R_LINEAR_HOLDER_IS_USED] = {EINVAL,
					"the table that would hold the linear entry is itself used linearly (XSA-240)"},
	[XM_R_LINEAR_TARGET_HOLDS] = {EINVAL, "the linear entry's target holds linear entries itself (XSA-240)"},
	[XM_R_VA_NOT_GUEST] = {EINVAL, "the address is not the guest's"},
	[XM_R_VA_NO_TABLE] = {EINVAL, "no L1 table covers the address"},
	[XM_R_VA_L1_NOT_OWNED] = {EINVAL, "the L1 table of the address is not the caller's"},
	[XM_R_VA_L1_NOT_VALIDATED] = {EINVAL, "what covers the address is no validated L1 table"},
	[XM_R_FLUSH_BITMAP] = {EFAULT, "the vcpu bitmap is not readable; the entry was written"},
	[XM_R_MMUEXT_FOREIGN] = {EPERM, "this operation acts on the caller alone"},
	[XM_R_MMUEXT_NOT_OWNED] = {EINVAL, "the frame is not foreigndom's"},
	[XM_R_ALREADY_PINNED] = {EINVAL, "the table is pinned already"},
	[XM_R_NOT_PINNED] = {EINVAL, "the frame is not pinned"},
	[XM_R_VCPU_BITMAP] = {EINVAL, "the vcpu bitmap is not readable"},
	[XM_R_NOT_WRITABLE] = {EINVAL, "the frame is in use as something else than writable memory"},
	[XM_R_CACHE_NOT_PERMITTED] = {EACCES, "a domain without devices may not flush caches"},
	[XM_R_CACHE_GLOBAL_NOT_PERMITTED] = {EINVAL, "a domain without devices may not flush all caches"},
	[XM_R_LDT] = {EINVAL, "an LDT of more than 8192 entries, unaligned, or at an address that is not the guest's"},
	[XM_R_GDT_ENTRIES] = {EINVAL, "a GDT of more entries than are the guest's"},
	[XM_R_GDT_NOT_OWNED] = {EINVAL, "a frame of the GDT is not the caller's"},
	[XM_R_DESCRIPTOR_UNALIGNED] = {EINVAL, "the address of a descriptor is not a multiple of 8"},
	[XM_R_DESCRIPTOR_NOT_OWNED] = {EINVAL, "the frame of a descriptor is not the caller's"},
	[XM_R_DESCRIPTOR_BUSY] = {EINVAL, "the frame of a descriptor is in use as something else"},
	[XM_R_ASSIST] = {EINVAL, "no such assist"},
	[XM_R_MULTICALL_NESTED] = {EINVAL, "a multicall in a multicall"},
	[XM_R_GRANT_COUNT] = {EINVAL, "not one request where one is expected, or more than 2^31"},
	[XM_R_GRANT_VERSION] = {EINVAL, "grant tables have versions 1 and 2"},
	[XM_R_GRANT_FLAGS] = {0, "neither a host nor a device mapping is asked for", GNTST_BAD_GNTREF},
	[XM_R_GRANT_DOMAIN] = {0, "no domain has that number; a domain's own is its number, not DOMID_SELF",
			       GNTST_BAD_DOMAIN},
	[XM_R_GRANT_PERMISSION] = {0, "no privilege over the domain whose table it is", GNTST_PERMISSION_DENIED},
	[XM_R_GRANT_NO_HANDLE] = {0, "no free handle for the mapping", GNTST_NO_SPACE},
	[XM_R_GRANT_REF] = {0, "the reference lies beyond the granter's table", GNTST_BAD_GNTREF},
	[XM_R_GRANT_ENTRY] = {0, "the grant's entry does not permit access", GNTST_GENERAL_ERROR},
	[XM_R_GRANT_NOT_FOR_CALLER] = {0, "the grant is for another domain", GNTST_GENERAL_ERROR},
	[XM_R_GRANT_READONLY] = {0, "a writable mapping of a grant for reading", GNTST_GENERAL_ERROR},
	[XM_R_GRANT_PINS] = {0, "the grant is mapped too often", GNTST_GENERAL_ERROR},
	[XM_R_GRANT_PAGE] = {0, "the granted frame is not the granter's", GNTST_BAD_PAGE},
	[XM_R_GRANT_PAGE_GONE] = {0, "a granted frame, mapped already, that is no longer the granter's",
				  GNTST_GENERAL_ERROR},
	[XM_R_GRANT_TYPE] = {0, "a writable mapping of a granted frame in use as something else", GNTST_GENERAL_ERROR},
	[XM_R_GRANT_PTE] = {0, "the address names no entry of a validated L1 table of the caller", GNTST_GENERAL_ERROR},
	[XM_R_GRANT_MISMATCH] = {0, "the entry does not map the granted frame as the grant did", GNTST_GENERAL_ERROR},
	[XM_R_GRANT_HANDLE] = {0, "no mapping has that handle", GNTST_BAD_HANDLE},
	[XM_R_GRANT_DEV_ADDR] = {0, "the bus address is not that of the granted frame", GNTST_BAD_DEV_ADDR},
	[XM_R_GRANT_FRAMES] = {0, "a grant table has at most 64 frames", GNTST_GENERAL_ERROR},
	[XM_R_GRANT_FRAME_LIST] = {0, "the list of frames cannot be written", GNTST_BAD_VIRT_ADDR},
	[XM_R_GRANT_IN_USE] = {0, "a grant that is mapped cannot be swapped", GNTST_EAGAIN},
	[XM_R_DOMID_UNKNOWN] = {ESRCH, "no domain has that number"},
	[XM_R_EXTENTS] = {EINVAL, "more extents than Xen can count in one call"},
	[XM_R_EXTENT_ORDER] = {EPERM, "an extent larger than the caller may name"},
	[XM_R_ADDRESS_BITS] = {EINVAL, "no frame lies below that number of address bits"},
	[XM_R_MAX_PAGES] = {E2BIG, "the domain may not own so many frames"},
	[XM_R_NO_MEMORY] = {ENOMEM, "no free memory of that size"},
	[XM_R_MFN_INVALID] = {EINVAL, "the machine has no such frame"},
	[XM_R_PAGE_NOT_OWNED] = {ENXIO, "the frame is not the domain's"},
	[XM_R_EXCHANGE_SIZES] = {EINVAL, "the two sides of an exchange differ in size or domain"},
	[XM_R_EXCHANGE_IN_USE] = {EINVAL, "only a frame that nothing but its allocation refers to can be exchanged"},
	[XM_R_NOT_TRANSLATED] = {EACCES, "a PV domain has no physmap of Xen's making"},
	[XM_R_MEMORY_NODE] = {EINVAL, "memory of a node that cannot be, or that the domain may not choose"},
	[XM_R_POPULATE_ON_DEMAND] = {EINVAL, "a domain cannot have its own memory populated on demand"},
	[XM_R_START_EXTENT] = {EINVAL, "a command that does not go on, with the extent to go on from"},
	[XM_R_PHYSMAP_START] = {EDOM, "more extents done than a range can have"},
	[XM_R_NOT_CAPTURED] = {EIO, "the image does not hold this frame: what is in it is not known"},
};

const char *xm_reason_text(int reason)
{
	return reason >= 0 && reason < XM_R_KINDS ? rules[reason].text : "unknown reason";
}

int xm_reason_errno(int reason)
{
	return reason >= 0 && reason < XM_R_KINDS ? rules[reason].error : EINVAL;
}

int xm_reason_grant_status(int reason)
{
	return reason >= 0 && reason < XM_R_KINDS ? rules[reason].grant_status : GNTST_GENERAL_ERROR;
}
