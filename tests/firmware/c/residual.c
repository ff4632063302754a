/* The trial `residual`: resnet8:4, batch 8, vector-scaling loss, crops and mirrors, SSE-SAM through both stages. */
#include "trials.h"

enum { FLOATS = 57960, WEIGHTS = 5054, PARAMETERS = 4934 };
static size_t memory[SSE_SAM_HANDLE_WORDS];
static float arena[FLOATS], weights[WEIGHTS];

int main(void) {
  static const recipe recipe = {.network = (sse_sam_network *)memory,
                                .sizes = {FLOATS, WEIGHTS, PARAMETERS, CLASSES, 0},
                                .arena = arena,
                                .weights = weights,
                                .normalization = digits_normalization,
                                .counts = digits_counts,
                                .eta = DIGITS_ETA,
                                .crop = 1,
                                .epochs = 2,
                                .steps = 4,
                                .batch = 8,
                                .first_stage = FIRST_STAGE,
                                .second_stage = SECOND_STAGE};
  const sse_sam_image image = {8, 8, 1};
  uint32_t counter = 0;
  return failed("sse_sam_resnet", sse_sam_resnet(recipe.network, sizeof memory, image, 8, 4, CLASSES)) ||
         prepare(&recipe) ||
         failed("sse_sam_set_loss",
                sse_sam_set_loss(recipe.network, digits_counts, CLASSES, SSE_SAM_LOSS_VS, 0.05, 0.75)) ||
         failed("sse_sam_initialize", sse_sam_initialize(recipe.network, 0, draw, &counter)) || train(&recipe);
}
