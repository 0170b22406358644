/* Temporary: the replay is being written. */
#include "kernel.h"
#pragma GCC diagnostic ignored "-Wunused-parameter"
int xm_replay(struct xm_kernel *k, const struct xm_event *events, uint64_t n, struct xm_replay_stats *stats)
{
	return XM_E_STATE;
}
int xm_replay_pmap(const struct xm_kernel *k, uint32_t pid, uint32_t *pm_ret)
{
	return XM_E_ARGUMENT;
}
