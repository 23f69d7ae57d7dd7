/*
 * P and Q of 8 + 2 with 64 KiB chunks by ISA-L on one core, the way the parity bench of crates/raid
 * measures ours: GB/s of data, the median over rounds, from one stripe (data in L2) and from a pool
 * far larger than the last cache (data from DRAM). bench/parity.py builds and runs it; it is no
 * part of the shelf.
 */
#define _GNU_SOURCE
#include <isa-l/raid.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { DATA_CHUNKS = 8, CHUNKS = DATA_CHUNKS + 2, CHUNK_BYTES = 64 << 10 };

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static int by_value(const void *one, const void *other)
{
	double difference = *(const double *)one - *(const double *)other;

	return (difference > 0) - (difference < 0);
}

/* P is the sum of the data, and Q of a stripe of one byte in chunk 1 is twice that byte. */
static void check(char *stripe)
{
	void *chunks[CHUNKS];
	unsigned char *p, *q;

	for (int i = 0; i < CHUNKS; i++)
		chunks[i] = stripe + i * CHUNK_BYTES;
	memset(stripe, 0, CHUNKS * CHUNK_BYTES);
	((unsigned char *)chunks[1])[7] = 0x81;
	if (pq_gen(CHUNKS, CHUNK_BYTES, chunks)) {
		fprintf(stderr, "pq_gen failed\n");
		exit(1);
	}
	p = chunks[DATA_CHUNKS];
	q = chunks[DATA_CHUNKS + 1];
	if (p[7] != 0x81 || q[7] != (0x02 ^ 0x1d)) {
		fprintf(stderr, "P is %02x and Q is %02x, not those of RAID 6\n", p[7], q[7]);
		exit(1);
	}
}

static void measure(const char *name, int stripes, int rounds, int repeats)
{
	size_t bytes = (size_t)stripes * CHUNKS * CHUNK_BYTES;
	char *pool = aligned_alloc(4096, bytes);
	double *seconds = calloc((size_t)rounds, sizeof *seconds);
	int next = 0;

	if (!pool || !seconds) {
		fprintf(stderr, "no memory\n");
		exit(1);
	}
	check(pool);
	for (size_t i = 0; i < bytes; i++)
		pool[i] = (char)(i * 31 >> 7);
	for (int round = -1; round < rounds; round++) {
		double start = now();

		for (int i = 0; i < repeats; i++) {
			void *chunks[CHUNKS];
			char *stripe = pool + (size_t)(next++ % stripes) * CHUNKS * CHUNK_BYTES;

			for (int chunk = 0; chunk < CHUNKS; chunk++)
				chunks[chunk] = stripe + chunk * CHUNK_BYTES;
			pq_gen(CHUNKS, CHUNK_BYTES, chunks);
		}
		if (round >= 0)
			seconds[round] = now() - start;
	}
	qsort(seconds, (size_t)rounds, sizeof *seconds, by_value);
	printf("%s %.1f\n", name,
	       1e-9 * repeats * DATA_CHUNKS * CHUNK_BYTES / seconds[rounds / 2]);
	free(seconds);
	free(pool);
}

int main(void)
{
	measure("L2", 1, 400, 20);
	measure("DRAM", (512 << 20) / (DATA_CHUNKS * CHUNK_BYTES), 60, 32);
	return 0;
}
