/*
 * adopt.c - taking over a running Xen from captured memory.
 *
 * Knows: where a running Xen 4.17 keeps struct page_info and how it lies there, so that its books can be read by walking
 * from CR3.  Does not know: how the memory was captured, or file formats; which references are in no table (holders.c).
 *
 *	byte 0		list links				not needed
 *	byte 8		count_info
 *	byte 16		type_info
 *	byte 24		owner: one word for each domain, as a compressed pointer
 *	byte 28		of a table: nr_validated_ptes and partial_flags (16 bits), linear_pt_count (16 bits)
 *
 * A domain is known by its word: dom0's is that of CR3's frame, dom_io's that of frame 0, that of another domain owns
 * memory which is not of Xen's heap.  Words that own pages of Xen's heap alone, such as the M2P's frames, are dom_xen's.
 * The word is the frame of struct domain, which begins with the domain's number; where the image lacks it, the domains
 * beside dom0 are numbered from 1 on, in the order in which their memory is met.
 *
 * Xen 4.17: struct page_info (arch/x86/include/asm/mm.h), the layout of the address space (asm/config.h).
 */
#include "xen.h"

#define RECORD_SIZE 32
#define PGT_LOCKED (1ULL << 55)
#define RECORDS_IN_PAGE (XM_PAGE_SIZE / RECORD_SIZE)

struct adoption {
	struct xm_xen *x;
	struct xm_cpu cpu; /* walks as Xen itself does */
	uint64_t culprit;
	uint32_t word[XM_MAX_DOMAINS]; /* of each domain, 0: none */
	uint32_t io_word;
};

static int give_up(struct adoption *a, int status, uint64_t mfn)
{
	a->culprit = mfn;
	return status;
}

/* ---- the books ---------------------------------------------------------------------------------------------------- */

/* The page of the frame table with this frame's record: XM_OK and NULL where Xen has none mapped. */
static int find_records(struct adoption *a, uint64_t mfn, const uint64_t **ret)
{
	uint64_t va = XM_FRAMETABLE_VIRT_START + mfn / RECORDS_IN_PAGE * XM_PAGE_SIZE;
	struct xm_walk w;

	*ret = NULL;
	if (va >= XM_FRAMETABLE_VIRT_END)
		return XM_OK;
	xm_walk(&a->cpu, va, XM_ACC_READ, &w);
	if (w.fault == XM_FAULT_BUS)
		return give_up(a, XM_E_RANGE,
			       w.nsteps && !xm_has_frame(a->x->machine, w.steps[w.nsteps - 1].entry_pa >> XM_PAGE_SHIFT)
				       ? w.steps[w.nsteps - 1].entry_pa >> XM_PAGE_SHIFT
				       : w.pa >> XM_PAGE_SHIFT);
	if (!w.fault)
		*ret = xm_words(a->x->machine, w.pa >> XM_PAGE_SHIFT);
	return XM_OK;
}

static uint32_t owner_word(const uint64_t *record)
{
	return (uint32_t)record[3];
}

static int is_free(const uint64_t *record)
{
	return (record[1] & XM_PGC_STATE_FREE) == XM_PGC_STATE_FREE;
}

static int read_owner_words(struct adoption *a, uint64_t root)
{
	const uint64_t *dom, *io;
	int status = find_records(a, root, &dom);

	if (!status)
		status = find_records(a, 0, &io);
	if (status)
		return status;
	if (!dom || !io)
		return give_up(a, XM_E_STATE, root);
	dom += root % RECORDS_IN_PAGE * 4;
	if (is_free(dom) || !(dom[1] & XM_PGC_COUNT_MASK) || dom[2] >> XM_PGT_TYPE_SHIFT != XM_PGT_L4)
		return give_up(a, XM_E_STATE, root);
	a->word[0] = owner_word(dom);
	a->io_word = owner_word(io);
	return XM_OK;
}

static unsigned domid_of(const struct adoption *a, uint32_t word)
{
	unsigned id = 0;

	while (id < XM_MAX_DOMAINS && a->word[id] != word)
		id++;
	return id;
}

/* Another domain's memory: the domain gets a number. */
static int name_owner(struct adoption *a, uint64_t mfn, const uint64_t *record)
{
	uint32_t word = owner_word(record);
	uint64_t id = 0;

	if (is_free(record) || (record[1] == ~0ULL && record[2] == ~0ULL) || !(record[1] & XM_PGC_COUNT_MASK))
		return XM_OK;
	if ((record[1] & XM_PGC_XEN_HEAP) || word == a->io_word || domid_of(a, word) < XM_MAX_DOMAINS)
		return XM_OK;
	if (!word)
		return give_up(a, XM_E_STATE, mfn);
	if (word < a->x->max_page && xm_has_frame(a->x->machine, word))
		id = (uint16_t)*xm_words(a->x->machine, word);
	if (!id || id >= XM_MAX_DOMAINS || a->word[id])
		for (id = 1; id < XM_MAX_DOMAINS && a->word[id];)
			id++;
	if (id == XM_MAX_DOMAINS)
		return give_up(a, XM_E_LIMIT, mfn);
	a->word[id] = word;
	return XM_OK;
}

/* Where Xen knows of no memory there are device registers, for all that a guest can tell. */
static const struct xm_frame io_frame = {
	.count_info = XM_PGC_ALLOCATED | 1,
	.type_info = (uint64_t)XM_PGT_WRITABLE << XM_PGT_TYPE_SHIFT | XM_PGT_VALIDATED | 1,
	.owner = XM_DOMID_IO,
};

static int read_record(struct adoption *a, uint64_t mfn, const uint64_t *record)
{
	struct xm_frame *f = &a->x->frame[mfn];

	*f = io_frame;
	if (!record || (record[1] == ~0ULL && record[2] == ~0ULL))
		return XM_OK;
	*f = (struct xm_frame){.owner = XM_OWNER_NONE};
	if (is_free(record)) {
		/* Bit 63 of a free frame's count_info says that it is to be scrubbed. */
		f->count_info = XM_PGC_STATE_FREE;
		a->x->free_frames++;
		return XM_OK;
	}
	if (!(record[1] & XM_PGC_COUNT_MASK))
		return XM_OK; /* Xen's own */
	f->count_info = record[1];
	f->type_info = record[2] & ~PGT_LOCKED; /* held for an instant, by no reference */
	if (domid_of(a, owner_word(record)) < XM_MAX_DOMAINS)
		f->owner = (uint16_t)domid_of(a, owner_word(record));
	else if (owner_word(record) == a->io_word)
		f->owner = XM_DOMID_IO;
	else if (record[1] & XM_PGC_XEN_HEAP)
		f->owner = XM_DOMID_XEN;
	else
		return give_up(a, XM_E_STATE, mfn);
	if (xm_type(f) >= XM_PGT_L1 && xm_type(f) <= XM_PGT_L4) {
		f->nr_validated_ptes = (uint16_t)(record[3] >> 32) & 0x3ff;
		f->linear_pt_count = (int16_t)(record[3] >> 48);
	}
	return XM_OK;
}

static int read_books(struct adoption *a)
{
	const uint64_t *records = NULL;
	int status = XM_OK;

	for (uint64_t mfn = 0; !status && mfn < a->x->max_page; mfn++) {
		if (mfn % RECORDS_IN_PAGE == 0)
			status = find_records(a, mfn, &records);
		if (!status && records)
			status = name_owner(a, mfn, records + mfn % RECORDS_IN_PAGE * 4);
	}
	for (uint64_t mfn = 0; !status && mfn < a->x->max_page; mfn++) {
		if (mfn % RECORDS_IN_PAGE == 0)
			status = find_records(a, mfn, &records);
		if (!status)
			status = read_record(a, mfn, records ? records + mfn % RECORDS_IN_PAGE * 4 : NULL);
		if (!status && xm_is_live_table(&a->x->frame[mfn]) && !xm_has_frame(a->x->machine, mfn))
			status = give_up(a, XM_E_RANGE, mfn);
	}
	return status;
}

/* ---- the domain ---------------------------------------------------------------------------------------------------- */

/* Its chunks lie one after the other from its first frame on; the image need not hold them. */
static void find_m2p(struct adoption *a, const struct xm_domain *d)
{
	struct xm_xen *x = a->x;
	struct xm_cpu cpu = a->cpu;
	struct xm_walk w;

	cpu.cr3 = d->vcpu.kernel_root << XM_PAGE_SHIFT;
	x->m2p_l3 = xm_entry_mfn(xm_words(x->machine, d->vcpu.kernel_root)[XM_L4_FIRST_XEN_SLOT]);
	if (!xm_walk(&cpu, XM_RO_MPT_VIRT_START, XM_ACC_READ, &w)) {
		x->m2p = w.pa >> XM_PAGE_SHIFT;
		return;
	}
	while (x->m2p < x->max_page && x->frame[x->m2p].owner != XM_DOMID_XEN)
		x->m2p++;
}

static uint64_t highest_pfn(const struct xm_xen *x, unsigned domid, uint64_t *p2m)
{
	uint64_t n = 0;

	for (uint64_t mfn = 0; mfn < x->max_page; mfn++) {
		uint64_t pfn = x->frame[mfn].owner == domid ? xm_xen_m2p(x, mfn) : ~0ULL;

		if (pfn >= x->max_page)
			continue;
		if (p2m)
			p2m[pfn] = mfn;
		if (pfn >= n)
			n = pfn + 1;
	}
	return n;
}

/* Any of its L4s tells where a domain's own area is. */
static uint64_t any_l4(const struct xm_xen *x, unsigned domid)
{
	for (uint64_t mfn = 0; mfn < x->max_page; mfn++)
		if (x->frame[mfn].owner == domid && xm_is_live_table(&x->frame[mfn]) &&
		    xm_type(&x->frame[mfn]) == XM_PGT_L4)
			return mfn;
	return 0;
}

static int make_domain(struct adoption *a, unsigned domid, uint64_t loaded)
{
	struct xm_xen *x = a->x;
	struct xm_domain *d = xm_domain_allocate(x, x->max_page);
	uint64_t l4 = loaded ? loaded : any_l4(x, domid);
	int status;

	if (!d)
		return XM_E_MEMORY;
	d->alive = 1;
	d->domid = (uint16_t)domid;
	d->privileged = domid == 0;
	d->max_pages = UINT32_MAX;
	for (uint64_t mfn = 0; mfn < x->max_page; mfn++)
		d->tot_pages += x->frame[mfn].owner == domid && !(x->frame[mfn].count_info & XM_PGC_XEN_HEAP);
	x->domain[domid] = d;
	x->ndomains++;
	status = xm_domain_init_vcpu(d);
	if (!loaded)
		loaded = xm_adopt_first_root(d);
	if (!status && loaded)
		status = xm_adopt_roots(d, loaded, &a->culprit);
	if (l4)
		d->perdomain_l3 = xm_entry_mfn(xm_words(x->machine, l4)[260]);
	return status;
}

/* After find_m2p, by which the M2P can be read. */
static void fill_p2m(struct xm_domain *d)
{
	memset(d->p2m, 0xff, d->xen->max_page * sizeof(*d->p2m));
	d->nframes = highest_pfn(d->xen, d->domid, d->p2m);
}

static int make_domains(struct adoption *a, uint64_t loaded)
{
	struct xm_xen *x = a->x;
	int status = make_domain(a, 0, loaded);
	const uint64_t *l4;

	for (unsigned id = 1; !status && id < XM_MAX_DOMAINS; id++)
		if (a->word[id])
			status = make_domain(a, id, 0);
	if (status)
		return status;
	l4 = xm_words(x->machine, x->domain[0]->vcpu.kernel_root);
	x->own_slot[257 - XM_L4_FIRST_XEN_SLOT] = l4[257];
	for (unsigned i = 261; i <= XM_L4_LAST_XEN_SLOT; i++)
		x->own_slot[i - XM_L4_FIRST_XEN_SLOT] = l4[i];
	find_m2p(a, x->domain[0]);
	for (unsigned id = 0; id < XM_MAX_DOMAINS; id++)
		if (x->domain[id])
			fill_p2m(x->domain[id]);
	status = xm_adopt_held(x);
	if (!status)
		xm_adopt_descriptor_tables(x->domain[0], &a->cpu);
	return status;
}

struct xm_xen *xm_xen_adopt(struct xm_machine *m, const struct xm_xen_options *options, uint64_t cr3, int *status_ret,
			    uint64_t *mfn_ret)
{
	struct adoption a = {.culprit = ~0ULL};
	uint64_t root = xm_entry_mfn(cr3);
	int status = XM_E_ARGUMENT;

	*mfn_ret = ~0ULL;
	if (options->mutants >> XM_MUT_KINDS || options->version != XM_XEN_4_17)
		goto out;
	status = XM_E_STATE;
	if (m->depth)
		goto out;
	a.culprit = root;
	status = XM_E_RANGE;
	if (!xm_has_frame(m, root))
		goto out;
	a.x = xm_state_new(m, sizeof(*a.x));
	status = XM_E_MEMORY;
	if (!a.x)
		goto out;
	a.x->machine = m;
	a.x->options = *options;
	a.x->profile = xm_profile_of(options->version);
	a.x->max_page = xm_machine_frames(m);
	a.x->captured = 1;
	a.x->frame = xm_state_new(m, a.x->max_page * sizeof(*a.x->frame));
	if (!a.x->frame)
		goto out;
	status = xm_cpu_init(&a.cpu, m, 52, XM_VENDOR_AMD, 1);
	a.cpu.cr3 = root << XM_PAGE_SHIFT;
	a.culprit = ~0ULL;
	if (!status)
		status = read_owner_words(&a, root);
	if (!status)
		status = read_books(&a);
	if (!status)
		status = make_domains(&a, root);
out:
	*status_ret = status;
	if (!status)
		return a.x;
	*mfn_ret = a.culprit;
	xm_xen_free(a.x);
	return NULL;
}
