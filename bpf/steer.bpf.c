// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Steers what arrives at an Ethernet port of the shelf.
 *
 *   AoE (0x88a2)       to the AF_XDP socket of the receive queue; to the kernel if there is none.
 *                      So is AoE behind one VLAN tag: the target looks at the tag
 *   console (0xbcbc)   to the kernel, where a packet socket of ours listens
 *   everything else    to the kernel, untouched: other tagged frames, IP, frames too short to have
 *                      an EtherType
 *
 * Nothing is ever dropped or changed here. Every frame is counted under one outcome. A tag that the
 * network card has taken off is not seen here, and the frame is taken for one without: receive
 * VLAN offload must be off where LUNs are bound to VLANs, and the port turns it off.
 *
 * The program is of the "frags" kind, so that it may run on frames of several buffers. It only
 * looks at the Ethernet header and a tag, which the first buffer always holds.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define ETHERTYPE_AOE     0x88a2
#define ETHERTYPE_CONSOLE 0xbcbc
#define ETHERTYPE_VLAN    0x8100
#define ETHERTYPE_QINQ    0x88a8

/* The numbers are known to the user-space side, crates/port/src/steer.rs. */
enum outcome {
	AOE_TO_SOCKET,
	AOE_TO_KERNEL,
	CONSOLE,
	TAGGED,
	OTHER,
	SHORT,
	OUTCOME_COUNT,
};

/* One AF_XDP socket per receive queue. The user-space side sets the real size before loading. */
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

struct vlan_tag {
	__be16 control;
	__be16 ethertype;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, OUTCOME_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} outcomes SEC(".maps");

static __always_inline void count(__u32 outcome)
{
	__u64 *frames = bpf_map_lookup_elem(&outcomes, &outcome);

	if (frames)
		*frames += 1;
}

static __always_inline int pass(__u32 outcome)
{
	count(outcome);
	return XDP_PASS;
}

static __always_inline int to_socket(struct xdp_md *ctx)
{
	/* The last argument is the action when the queue has no socket. */
	int action = bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_PASS);

	count(action == XDP_REDIRECT ? AOE_TO_SOCKET : AOE_TO_KERNEL);
	return action;
}

SEC("xdp.frags")
int steer(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *ethernet = data;
	struct vlan_tag *tag = (void *)(ethernet + 1);

	if ((void *)(ethernet + 1) > data_end)
		return pass(SHORT);

	switch (ethernet->h_proto) {
	case bpf_htons(ETHERTYPE_AOE):
		return to_socket(ctx);
	case bpf_htons(ETHERTYPE_CONSOLE):
		return pass(CONSOLE);
	case bpf_htons(ETHERTYPE_VLAN):
	case bpf_htons(ETHERTYPE_QINQ):
		if ((void *)(tag + 1) <= data_end && tag->ethertype == bpf_htons(ETHERTYPE_AOE))
			return to_socket(ctx);
		return pass(TAGGED);
	default:
		return pass(OTHER);
	}
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
