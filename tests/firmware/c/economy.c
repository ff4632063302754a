/* The trial `economy`: the perceptron in less memory. For the label its last part alone, which takes the least. */
#include "trials.h"

enum { PARAMETERS = 2410, LAST = 330, LEAN = 13994, RECOMPUTE = 10560, TUNED = 3434, PIECES = 7614 };
static size_t memory[SSE_SAM_PERCEPTRON_WORDS];
static float weights[PARAMETERS];
#ifdef LABEL
static float arena[PIECES];
#else
static float arena[LEAN];
#endif

/* Makes the network and plans it. */
static int began(const recipe *recipe) {
  static const uint32_t layer_sizes[3] = {PIXELS, 32, CLASSES};
  const sse_sam_image image = {8, 8, 1};
  return failed("sse_sam_perceptron_with_options",
                sse_sam_perceptron_with_options(recipe->network, sizeof memory, image, layer_sizes, 3)) ||
         prepare(recipe);
}

/* Trains all layers with `options`, in an arena of `floats`. */
static int economize(const sse_sam_options *options, size_t floats) {
  recipe recipe = {.network = (sse_sam_network *)memory,
                   .sizes = {floats, PARAMETERS, PARAMETERS, CLASSES, 0},
                   .arena = arena,
                   .weights = weights,
                   .options = options,
                   .normalization = digits_normalization,
                   .counts = digits_counts,
                   .eta = DIGITS_ETA,
                   .heads_first = 1,
                   .epochs = 2,
                   .steps = 5,
                   .batch = 16,
                   .first_stage = FIRST_STAGE,
                   .second_stage = SECOND_STAGE};
  uint32_t counter = 0;
  if (options->trainable_layers == 0)
    return began(&recipe) ||
           failed("sse_sam_initialize", sse_sam_initialize(recipe.network, 0, draw, &counter)) || train(&recipe);
  /* The last layer, for classes that should count alike; the first is read where it lies. */
  size_t frozen = PARAMETERS - LAST;
  recipe.sizes.weights = recipe.sizes.parameters = LAST;
  recipe.sizes.frozen = frozen;
  recipe.frozen = start;
  return began(&recipe) ||
         failed("sse_sam_set_loss",
                sse_sam_set_loss(recipe.network, digits_counts, CLASSES, SSE_SAM_LOSS_LA, 1.0, 0.0)) ||
         failed("sse_sam_load", sse_sam_load(recipe.network, start + frozen, LAST)) || train(&recipe);
}

int main(void) {
#ifndef LABEL
  static const sse_sam_options lean = {SSE_SAM_MEMORY_LEAN, 0, 0};
  static const sse_sam_options recompute = {SSE_SAM_MEMORY_RECOMPUTE, 0, 0};
  static const sse_sam_options last = {SSE_SAM_MEMORY_LEAN, 1, 0};
  text("lean \n");
  if (economize(&lean, LEAN))
    return 1;
  text("recompute \n");
  if (economize(&recompute, RECOMPUTE))
    return 1;
  text("fine-tuning \n");
  if (economize(&last, TUNED))
    return 1;
  text("pieces \n");
#endif
  static const sse_sam_options pieces = {SSE_SAM_MEMORY_RECOMPUTE, 0, 1};
  return economize(&pieces, PIECES);
}
