/* The trial `perceptron`: 64-32-10, batch 16, SSE-SAM through both stages. */
#include "trials.h"

enum { FLOATS = 16404, PARAMETERS = 2410 };
static size_t memory[SSE_SAM_PERCEPTRON_WORDS];
static float arena[FLOATS], weights[PARAMETERS];

int main(void) {
  static const uint32_t layer_sizes[3] = {PIXELS, 32, CLASSES};
  static const recipe recipe = {.network = (sse_sam_network *)memory,
                                .sizes = {FLOATS, PARAMETERS, PARAMETERS, CLASSES, 0},
                                .arena = arena,
                                .weights = weights,
                                .normalization = digits_normalization,
                                .counts = digits_counts,
                                .eta = DIGITS_ETA,
                                .epochs = 4,
                                .steps = 10,
                                .batch = 16,
                                .first_stage = FIRST_STAGE,
                                .second_stage = SECOND_STAGE};
  const sse_sam_image image = {8, 8, 1};
  uint32_t counter = 0;
  return failed("sse_sam_perceptron",
                sse_sam_perceptron(recipe.network, sizeof memory, image, layer_sizes, 3)) ||
         prepare(&recipe) ||
         failed("sse_sam_initialize", sse_sam_initialize(recipe.network, 0, draw, &counter)) || train(&recipe);
}
