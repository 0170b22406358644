#include "kernel.h"
void xm_vm_free(struct xm_machine *m, struct xm_vm *vm)
{
	(void)m;
	(void)vm;
}
