/* Training on the digits through sse_sam.h: what the programs share. */
#ifndef TRIALS_H
#define TRIALS_H

#include "machine.h"
#include "sse_sam.h"

/* What is trained, in which memory, on what, and for how long. */
typedef struct {
  sse_sam_network *network;
  /* What the plan must come to: `arena` is as long as its floats, `weights` as its weights. */
  sse_sam_sizes sizes;
  float *arena, *weights;
  /* NULL for none. */
  const sse_sam_options *options;
  /* Numbers of frozen layers, if there are any. */
  const float *frozen;
  /* Mean of the bytes and one over their deviation; training samples of each class; fewer than `eta` are tail. */
  const float *normalization;
  const uint32_t *counts;
  uint32_t eta;
  /* Most pixels by which a picture is moved; whether a batch's tail comes last, and backwards. */
  int crop, heads_first;
  uint32_t epochs, steps, batch;
  /* Used in the first half of the epochs, and in the second. */
  sse_sam_update first_stage, second_stage;
} recipe;

/* SSE-SAM's two stages, as the Rust trials use them. */
#define FIRST_STAGE {2, 0.05f, 0.1f, 0.1f, 0.9f, 5e-4f, 0}
#define SECOND_STAGE {2, 0.0f, 0.1f, 0.1f, 0.9f, 5e-4f, 0}

/* What the Rust trials take of the digits. */
extern const uint32_t digits_counts[CLASSES];
extern const float digits_normalization[2];
enum { DIGITS_ETA = 20 };

/* 0, or 1 after printing what a function returned. */
int failed(const char *function, sse_sam_status status);

/* The next number of a random stream that `context`, a uint32_t, counts. */
uint32_t draw(void *context, uint32_t layer);

/* Plans the network, lends it arena, frozen layers and samples, sets normalisation and tail. Returns 0 when all is well. */
int prepare(const recipe *recipe);

/* Trains, and prints a line after every step; compiled for the label, the parameters' hash after the last one and nothing
 * else. Returns 0 when all is well. */
int train(const recipe *recipe);

/* Classifies the test images: `predictions[image]`. Returns 0 when all is well. */
int classify(const recipe *recipe, uint32_t predictions[TEST]);

#endif
