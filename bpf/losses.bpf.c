// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * What the kernel does to AoE frames on their way, and how long drives take: probes for the load
 * tests.
 *
 *   kfree_skb           a frame was dropped: by interface, reason and place; AoE frames only
 *   xdp_exception       an XDP program aborted, or its verdict could not be carried out
 *   xdp_redirect_err    a frame found no room in the socket that an XDP program chose for it
 *   block_rq_issue,
 *   block_rq_complete   from the driver's getting a request to its completion, in powers of two
 *
 * All programs are of the kind that knows the types of the kernel (tp_btf): no tracefs is needed,
 * and what is read here are fields by name, wherever this kernel has them. They only count. A load
 * without losses costs nothing but the times of block requests, and where packet sockets for all
 * protocols receive, which the kernel drops a copy behind, one count for each frame.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define MAC_HEADER_UNSET 0xffff
#define AOE_RESPONSE     0x08
#define OPERATION_MASK   0xff
#define DEVICE_MINOR_BITS 20

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct net_device {
	int ifindex;
	possible_net_t nd_net;
	const unsigned char *dev_addr;
};

struct sk_buff {
	struct net_device *dev;
	unsigned int len;
	unsigned int data_len;
	__u16 mac_header;
	unsigned char *head;
	unsigned char *data;
};

struct gendisk {
	int major;
	int first_minor;
};

struct request_queue {
	struct gendisk *disk;
};

struct request {
	struct request_queue *q;
	unsigned int cmd_flags;
};
#pragma clang attribute pop

/* The numbers and the keys are known to the user-space side, bench/probes/src/lib.rs. */
enum kind {
	DROPPED_REQUEST,
	DROPPED_RESPONSE,
	/* Where the AoE header is out of reach: from the address of the interface, or not. */
	DROPPED_SENT,
	DROPPED_RECEIVED,
	XDP_EXCEPTION,
	XDP_REDIRECT_ERROR,
};

/* Of all members, none is wider than another: there is no padding. */
struct loss {
	__u32 kind;
	__u32 namespace;
	__u32 interface;
	/* Reason of the drop, verdict of the program, or error of the redirection. */
	__u32 code;
	/* Where in the kernel the frame was dropped, if it was. */
	__u32 place_low;
	__u32 place_high;
};

struct latency {
	__u32 device;
	__u32 operation;
	/* 2^bucket nanoseconds or more, and less than twice as many. */
	__u32 bucket;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct loss);
	__type(value, __u64);
} losses SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct latency);
	__type(value, __u64);
} latencies SEC(".maps");

/* When each request that is with its driver got there. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, __u64);
} issued SEC(".maps");

/* What found no room in a map. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} uncounted SEC(".maps");

static __always_inline void count(void *map, const void *key)
{
	__u64 one = 1;
	__u64 *value = bpf_map_lookup_elem(map, key);

	if (!value && bpf_map_update_elem(map, key, &one, BPF_NOEXIST) == 0)
		return;
	if (!value)
		/* Another CPU may have been faster. */
		value = bpf_map_lookup_elem(map, key);
	if (!value) {
		__u32 zero = 0;

		value = bpf_map_lookup_elem(&uncounted, &zero);
	}
	if (value)
		*value += 1;
}

static __always_inline void lost(__u32 kind, struct net_device *device, __u32 code, __u64 place)
{
	struct loss loss = {
		.kind = kind,
		.namespace = device->nd_net.net->ns.inum,
		.interface = device->ifindex,
		.code = code,
		.place_low = place,
		.place_high = place >> 32,
	};

	count(&losses, &loss);
}

static __always_inline int is_from(struct net_device *device, const unsigned char *source)
{
	unsigned char address[6] = {};

	if (bpf_probe_read_kernel(address, sizeof(address), device->dev_addr))
		return 0;
	for (int i = 0; i < 6; i++)
		if (address[i] != source[i])
			return 0;
	return 1;
}

SEC("tp_btf/kfree_skb")
int frame_dropped(__u64 *ctx)
{
	struct sk_buff *skb = (struct sk_buff *)ctx[0];
	unsigned char bytes[20];
	__u32 kind, type = 12;
	__u16 mac_header = skb->mac_header;
	unsigned char *start = skb->data;
	/* What lies behind that is in pages of its own, which cannot be looked into here. */
	unsigned char *end = start + skb->len - skb->data_len;

	if (mac_header != MAC_HEADER_UNSET)
		start = skb->head + mac_header;
	if (bpf_probe_read_kernel(bytes, sizeof(bytes), start))
		return 0;
	if (bytes[12] == 0x81 && bytes[13] == 0x00)
		type = 16;
	if (bytes[type] != 0x88 || bytes[type + 1] != 0xa2)
		return 0;
	if (start + type + 3 <= end)
		kind = bytes[type + 2] & AOE_RESPONSE ? DROPPED_RESPONSE : DROPPED_REQUEST;
	else
		kind = is_from(skb->dev, bytes + 6) ? DROPPED_SENT : DROPPED_RECEIVED;
	lost(kind, skb->dev, ctx[2], ctx[1]);
	return 0;
}

SEC("tp_btf/xdp_exception")
int xdp_excepted(__u64 *ctx)
{
	lost(XDP_EXCEPTION, (struct net_device *)ctx[0], ctx[2], 0);
	return 0;
}

SEC("tp_btf/xdp_redirect_err")
int xdp_not_redirected(__u64 *ctx)
{
	lost(XDP_REDIRECT_ERROR, (struct net_device *)ctx[0], -(__s32)ctx[3], 0);
	return 0;
}

SEC("tp_btf/block_rq_issue")
int request_issued(__u64 *ctx)
{
	__u64 request = ctx[0], now = bpf_ktime_get_ns();

	if (bpf_map_update_elem(&issued, &request, &now, BPF_ANY)) {
		__u32 zero = 0;
		__u64 *value = bpf_map_lookup_elem(&uncounted, &zero);

		if (value)
			*value += 1;
	}
	return 0;
}

SEC("tp_btf/block_rq_complete")
int request_completed(__u64 *ctx)
{
	struct request *request = (struct request *)ctx[0];
	struct gendisk *disk = request->q->disk;
	__u64 key = ctx[0];
	__u64 *since = bpf_map_lookup_elem(&issued, &key);
	struct latency latency = {};
	__u64 taken;

	if (!since)
		return 0;
	taken = bpf_ktime_get_ns() - *since;
	bpf_map_delete_elem(&issued, &key);
	latency.device = (disk->major << DEVICE_MINOR_BITS) | disk->first_minor;
	latency.operation = request->cmd_flags & OPERATION_MASK;
	/* In steps of halves: BPF has no instruction that counts zeroes. */
	for (__u32 step = 32; step; step /= 2) {
		if (taken >> step) {
			taken >>= step;
			latency.bucket += step;
		}
	}
	count(&latencies, &latency);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
