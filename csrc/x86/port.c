/*
 * port.c - the walk and the accesses for a caller to whom every argument costs.
 *
 * Knows: walk.c's calls, and that a language beside C pays for each argument and each result that it fetches.  Does not
 * know: any rule of paging.
 */
#include "../internal.h"

int xm_port_walk(struct xm_port *port, uint64_t va, uint32_t access)
{
	return xm_walk(port->cpu, va, access, &port->walk);
}

int xm_port_load(struct xm_port *port, uint64_t va, unsigned size, uint32_t access)
{
	int status = xm_cpu_load(port->cpu, va, size, access, &port->value, &port->cr2, &port->walk);

	return status ? status : port->walk.fault;
}

int xm_port_store(struct xm_port *port, uint64_t va, unsigned size, uint32_t access, uint64_t value)
{
	int status = xm_cpu_store(port->cpu, va, size, access, value, &port->cr2, &port->walk);

	return status ? status : port->walk.fault;
}

int xm_port_cmpxchg(struct xm_port *port, uint64_t va, unsigned size, uint32_t access, uint64_t expected,
		    uint64_t value)
{
	int status =
		xm_cpu_cmpxchg(port->cpu, va, size, access, expected, value, &port->value, &port->cr2, &port->walk);

	return status ? status : port->walk.fault;
}
