/* Goes on with a network that was trained on the desk (network.h, by `sse-sam export`): prints what it knows of the test
 * images, trains, prints that again and its numbers, for `sse-sam import`. */
#include "network.h"
#include "trials.h"

enum { FLOATS = 16404 };
static size_t memory[SSE_SAM_PERCEPTRON_WORDS];
static float arena[FLOATS], weights[NETWORK_WEIGHTS];

/* `confusion` and a row of counts, a line for each label. */
static int print_confusion(const recipe *recipe) {
  uint32_t predictions[TEST];
  if (classify(recipe, predictions))
    return 1;
  for (uint32_t label = 0; label < CLASSES; label += 1) {
    text("confusion ");
    for (uint32_t class = 0; class < CLASSES; class += 1) {
      uint32_t count = 0;
      for (uint32_t test = 0; test < TEST; test += 1)
        count += samples[TRAIN + test] == label && predictions[test] == class;
      number(count);
    }
    text("\n");
  }
  return 0;
}

int main(void) {
  static const recipe recipe = {.network = (sse_sam_network *)memory,
                                .sizes = {FLOATS, NETWORK_WEIGHTS, NETWORK_PARAMETERS, CLASSES, 0},
                                .arena = arena,
                                .weights = weights,
                                .normalization = network_normalization,
                                .counts = network_class_counts,
                                .eta = NETWORK_ETA,
                                .epochs = 2,
                                .steps = 10,
                                .batch = 16,
                                .first_stage = FIRST_STAGE,
                                .second_stage = SECOND_STAGE};
  const sse_sam_image image = {NETWORK_HEIGHT, NETWORK_WIDTH, NETWORK_CHANNELS};
  if (failed("sse_sam_perceptron",
             sse_sam_perceptron(recipe.network, sizeof memory, image, network_layer_sizes, NETWORK_LAYER_SIZES)) ||
      prepare(&recipe) ||
      failed("sse_sam_load", sse_sam_load(recipe.network, network_weights, NETWORK_WEIGHTS)))
    return 1;
  text("from the desk\n");
  if (print_confusion(&recipe) || train(&recipe))
    return 1;
  text("on the chip\n");
  if (print_confusion(&recipe))
    return 1;
  for (uint32_t at = 0; at < NETWORK_WEIGHTS; at += 1) {
    text(at % 8 == 0 ? "weights " : "");
    bits(bits_of(weights[at]));
    text(at % 8 == 7 || at + 1 == NETWORK_WEIGHTS ? "\n" : "");
  }
  return 0;
}
