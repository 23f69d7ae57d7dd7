// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Steers what arrives at an Ethernet port of the shelf.
 *
 *   AoE (0x88a2)       to the AF_XDP socket of the receive queue; to the kernel if there is none.
 *                      So is AoE behind one VLAN tag: the target looks at the tag. Where workers
 *                      share a queue, to the socket of the worker that the frame is for
 *   console (0xbcbc)   to the kernel, where a packet socket of ours listens
 *   everything else    to the kernel, untouched: other tagged frames, IP, frames too short to have
 *                      an EtherType
 *
 * Nothing is ever dropped or changed here. Every frame is counted under one outcome. A tag that the
 * network card has taken off is not seen here, and the frame is taken for one without: receive
 * VLAN offload must be off where LUNs are bound to VLANs, and the port turns it off.
 *
 * The program is of the "frags" kind, so that it may run on frames of several buffers. The
 * Ethernet header and a tag are always in the first one; more is looked at only where workers share
 * a queue, and copied from wherever it lies.
 *
 * Which worker a frame is for is what shelf::shard::Place::receiver says: for a read or write of
 * sectors of one group the owner of the group, for another command the home of the LUN, for
 * anything else the queue's own worker. A worker drops what it is not the receiver of, so that a
 * difference between the two costs frames and never their order.
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
	AOE_SPREAD,
	OUTCOME_COUNT,
};

/* How many workers share each queue, and which of them is the first queue's own; the sectors that
 * one owns before the next one does. The user-space side sets it before loading.
 */
const volatile struct {
	__u32 workers;
	__u32 first;
	__u32 group_shift;
} spreading = {1, 0, 0};

/* For each slot one more than the sectors, from the first, that are spread; 0: no such LUN. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u64);
} luns SEC(".maps");

/* One AF_XDP socket for each receive queue and worker. The user-space side sets the real size
 * before loading.
 */
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

/* AoEr11 2 and 3, behind the EtherType. */
struct aoe_header {
	__u8 version_flags;
	__u8 error;
	__be16 shelf;
	__u8 slot;
	__u8 command;
	__be32 tag;
} __attribute__((packed));

struct ata_argument {
	__u8 flags;
	__u8 feature;
	__u8 count;
	__u8 command;
	__u8 lba[6];
	__u8 reserved[2];
} __attribute__((packed));

#define COMMAND_ATA      0x00
#define COMMAND_REDIRECT 0xf1

#define ATA_READ      0x20
#define ATA_READ_EXT  0x24
#define ATA_WRITE     0x30
#define ATA_WRITE_EXT 0x34

#define LBA28_MASK 0x0fffffff

/* The worker for a read or write of a LUN, of which so many sectors less one are spread. */
static __always_inline __u32 owner(const struct ata_argument *ata, __u32 slot, __u64 spread)
{
	__u32 home = slot % spreading.workers;
	__u64 lba = ata->lba[0] | ata->lba[1] << 8 | ata->lba[2] << 16 | (__u64)ata->lba[3] << 24 |
		    (__u64)ata->lba[4] << 32 | (__u64)ata->lba[5] << 40;
	__u64 end, group;

	switch (ata->command) {
	case ATA_READ:
	case ATA_WRITE:
		lba &= LBA28_MASK;
		break;
	case ATA_READ_EXT:
	case ATA_WRITE_EXT:
		break;
	default:
		return home;
	}
	end = lba + ata->count;
	if (ata->count == 0 || end >= spread)
		return home;
	group = lba >> spreading.group_shift;
	if ((end - 1) >> spreading.group_shift != group)
		return home;
	return (group + slot) % spreading.workers;
}

/* The worker for a frame whose AoE header lies at this offset, if its queue's own is that. */
static __always_inline __u32 receiver(struct xdp_md *ctx, __u32 offset, __u32 own)
{
	struct aoe_header aoe;
	struct ata_argument ata;
	__u64 *spread;
	__u32 slot;

	if (bpf_xdp_load_bytes(ctx, offset, &aoe, sizeof(aoe)))
		return own;
	slot = aoe.slot;
	spread = bpf_map_lookup_elem(&luns, &slot);
	if (!spread || *spread == 0)
		return own;
	offset += sizeof(aoe);
	if (aoe.command == COMMAND_REDIRECT) {
		/* Another message follows, with an Ethernet header of its own. The LUN is the first one's. */
		offset += sizeof(struct ethhdr);
		if (bpf_xdp_load_bytes(ctx, offset, &aoe, sizeof(aoe)))
			return own;
		offset += sizeof(aoe);
	}
	if (aoe.command != COMMAND_ATA || bpf_xdp_load_bytes(ctx, offset, &ata, sizeof(ata)))
		return own;
	return owner(&ata, slot, *spread);
}

/* To the socket for an AoE frame whose AoE header lies at this offset. */
static __always_inline int to_socket(struct xdp_md *ctx, __u32 offset)
{
	__u32 key = ctx->rx_queue_index;
	int action;

	if (spreading.workers > 1) {
		__u32 own = (spreading.first + key) % spreading.workers;
		__u32 worker = receiver(ctx, offset, own);

		key = key * spreading.workers + worker;
		if (worker != own)
			count(AOE_SPREAD);
	}
	/* The last argument is the action when there is no such socket. */
	action = bpf_redirect_map(&sockets, key, XDP_PASS);
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
		return to_socket(ctx, sizeof(*ethernet));
	case bpf_htons(ETHERTYPE_CONSOLE):
		return pass(CONSOLE);
	case bpf_htons(ETHERTYPE_VLAN):
	case bpf_htons(ETHERTYPE_QINQ):
		if ((void *)(tag + 1) <= data_end && tag->ethertype == bpf_htons(ETHERTYPE_AOE))
			return to_socket(ctx, sizeof(*ethernet) + sizeof(*tag));
		return pass(TAGGED);
	default:
		return pass(OTHER);
	}
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
