/* What the tests in C share. Buffers are as long as they must be and no longer, so that AddressSanitizer sees every step
 * beside them. */
#ifndef BENCH_H
#define BENCH_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sse_sam.h"

static int failures = 0;

static inline void check(int line, const char *what, sse_sam_status found, sse_sam_status expected) {
  if (found != expected) {
    printf("line %d: %s: %d (%s) instead of %d (%s)\n", line, what, (int)found, sse_sam_message(found),
           (int)expected, sse_sam_message(expected));
    failures += 1;
  }
}

static inline void check_true(int line, const char *what, int holds) {
  if (!holds) {
    printf("line %d: %s\n", line, what);
    failures += 1;
  }
}

#define IS(call, status) check(__LINE__, #call, call, SSE_SAM_STATUS_##status)
#define HOLDS(claim) check_true(__LINE__, #claim, claim)

enum { SIDE = 3, PIXELS = SIDE * SIDE, CLASSES = 4, BATCH = 6, WEIGHTS = PIXELS * 5 + 5 + 5 * CLASSES + CLASSES };
static const sse_sam_image IMAGE = {SIDE, SIDE, 1};
static const uint32_t LAYER_SIZES[3] = {PIXELS, 5, CLASSES};
static const uint32_t COUNTS[CLASSES] = {40, 20, 5, 1};
static const sse_sam_update SSE_SAM = {2, 0.05f, 0.1f, 0.2f, 0.9f, 1e-4f, 0};
static const sse_sam_update SGD = {1, 0.0f, 0.0f, 0.2f, 0.9f, 1e-4f, 1};

/* What a test works with, each in memory of its own. */
typedef struct {
  sse_sam_network *network;
  float *arena;
  sse_sam_sizes sizes;
} bench;

static inline void *memory(size_t bytes) {
  void *memory = malloc(bytes);
  if (memory == NULL)
    abort();
  return memset(memory, 0xA5, bytes);
}

static inline bench made(void) {
  bench bench = {memory(sse_sam_handle_bytes()), NULL, {0, 0, 0, 0, 0}};
  IS(sse_sam_mlp(bench.network, sse_sam_handle_bytes(), IMAGE, LAYER_SIZES, 3), OK);
  return bench;
}

static inline bench planned(void) {
  bench bench = made();
  IS(sse_sam_plan(bench.network, BATCH, &SSE_SAM, NULL, &bench.sizes), OK);
  return bench;
}

static inline bench ready(void) {
  bench bench = planned();
  bench.arena = memory(bench.sizes.floats * sizeof(float));
  IS(sse_sam_lend(bench.network, bench.arena, bench.sizes.floats), OK);
  IS(sse_sam_set_tail(bench.network, COUNTS, CLASSES, 10), OK);
  IS(sse_sam_initialize(bench.network, 7, NULL, NULL), OK);
  return bench;
}

static inline void end(bench bench) {
  free(bench.arena);
  free(bench.network);
}

/* A picture with one bright pixel for its class, and some noise. */
static inline void put_batch(sse_sam_network *network, uint32_t step) {
  for (uint32_t row = 0; row < BATCH; row += 1) {
    uint8_t *pixels = memory(PIXELS);
    uint32_t label = (row + step) % CLASSES;
    for (uint32_t pixel = 0; pixel < PIXELS; pixel += 1)
      pixels[pixel] = (uint8_t)((pixel * 37 + row * 11 + step * 53) % 60);
    pixels[2 * label] = 220;
    IS(sse_sam_put_bytes(network, row, pixels, PIXELS, label), OK);
    free(pixels);
  }
}

static inline void saved(const bench *bench, float *weights) { IS(sse_sam_save(bench->network, weights, WEIGHTS), OK); }

#endif
