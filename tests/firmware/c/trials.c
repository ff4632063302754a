/* Training on the digits through sse_sam.h, in the order and from the start of the Rust trials. */
#include "trials.h"

const uint32_t digits_counts[CLASSES] = {53, 36, 24, 17, 11, 8, 5, 3, 2, 1};
const float digits_normalization[2] = {5.0f, 1.0f / 6.0f};

int failed(const char *function, sse_sam_status status) {
  if (status == SSE_SAM_STATUS_OK)
    return 0;
  text(function);
  text(": ");
  text(sse_sam_message(status));
  text("\n");
  return 1;
}

uint32_t draw(void *context, uint32_t layer) {
  uint32_t *counter = context;
  (void)layer;
  *counter += 1;
  uint32_t mixed = *counter * 0x9E3779B9u;
  mixed = (mixed ^ (mixed >> 16)) * 0x85EBCA6Bu;
  mixed = (mixed ^ (mixed >> 13)) * 0xC2B2AE35u;
  return mixed ^ (mixed >> 16);
}

int prepare(const recipe *recipe) {
  sse_sam_network *network = recipe->network;
  sse_sam_sizes sizes;
  if (failed("sse_sam_plan", sse_sam_plan(network, recipe->batch, &recipe->first_stage, recipe->options, &sizes)))
    return 1;
  if (sizes.floats != recipe->sizes.floats || sizes.weights != recipe->sizes.weights ||
      sizes.parameters != recipe->sizes.parameters || sizes.classes != CLASSES ||
      sizes.frozen != recipe->sizes.frozen) {
    text("the plan comes to (floats, weights, parameters, frozen) ");
    number((uint32_t)sizes.floats);
    number((uint32_t)sizes.weights);
    number((uint32_t)sizes.parameters);
    number((uint32_t)sizes.frozen);
    text("\n");
    return 1;
  }
  if (sizes.frozen > 0 && failed("sse_sam_lend_frozen", sse_sam_lend_frozen(network, recipe->frozen, sizes.frozen)))
    return 1;
  return failed("sse_sam_lend", sse_sam_lend(network, recipe->arena, sizes.floats)) ||
         failed("sse_sam_lend_samples", sse_sam_lend_samples(network, samples, TRAIN + TEST)) ||
         failed("sse_sam_set_normalization", sse_sam_set_normalization(network, recipe->normalization, 2)) ||
         failed("sse_sam_set_tail", sse_sam_set_tail(network, recipe->counts, CLASSES, recipe->eta));
}

/* The training sample at a position of an epoch: every sample once, well mixed. */
static uint32_t sample(uint32_t epoch, uint32_t position) { return (position * 63 + epoch * 29) % TRAIN; }

/* Puts the batch of a step into the network, moved and mirrored by position. */
static int put(const recipe *recipe, uint32_t epoch, uint32_t step) {
  uint32_t heads = 0, tails = 0;
  for (uint32_t place = 0; place < recipe->batch; place += 1) {
    int position = (int)(step * recipe->batch + place), span = 2 * recipe->crop + 1;
    uint32_t index = sample(epoch, (uint32_t)position), row = place;
    if (recipe->heads_first)
      row = recipe->counts[samples[index]] < recipe->eta ? recipe->batch - (tails += 1) : (heads += 1) - 1;
    int top = position % span - recipe->crop, left = position / 3 % span - recipe->crop;
    uint32_t flip = recipe->crop > 0 && position % 4 == 3;
    if (failed("sse_sam_put_sample",
               sse_sam_put_sample(recipe->network, row, index, (int8_t)top, (int8_t)left, flip)))
      return 1;
  }
  return 0;
}

int classify(const recipe *recipe, uint32_t predictions[TEST]) {
  const sse_sam_options *options = recipe->options;
  size_t batch = options != NULL && options->micro_batch > 0 ? options->micro_batch : recipe->batch;
  for (size_t first = 0; first < TEST; first += batch) {
    size_t rows = TEST - first < batch ? TEST - first : batch;
    for (size_t row = 0; row < rows; row += 1) {
      const uint8_t *image = samples + TRAIN + TEST + (TRAIN + first + row) * PIXELS;
      if (failed("sse_sam_put_bytes", sse_sam_put_bytes(recipe->network, row, image, PIXELS, 0)))
        return 1;
    }
    if (failed("sse_sam_predict", sse_sam_predict(recipe->network, rows, predictions + first, NULL, 0)))
      return 1;
  }
  return 0;
}

/* Prints FNV-1a, 64 bits, over the bits of all parameters. */
REPORT static int print_hash(const recipe *recipe) {
  if (failed("sse_sam_save", sse_sam_save(recipe->network, recipe->weights, recipe->sizes.weights)))
    return 1;
  uint64_t hash = 0xCBF29CE484222325u;
  for (size_t at = 0; at < recipe->sizes.parameters; at += 1)
    for (uint32_t byte = 0, rest = bits_of(recipe->weights[at]); byte < 4; byte += 1, rest >>= 8)
      hash = (hash ^ (rest & 255)) * 0x100000001B3u;
  text("hash ");
  bits((uint32_t)(hash >> 32));
  bits((uint32_t)hash);
  text("\n");
  return 0;
}

#ifndef LABEL
/* `epoch E step S milliloss M BITS correct C hash HIGH LOW` */
static int print_step(const recipe *recipe, uint32_t epoch, uint32_t step, const sse_sam_report *report) {
  uint32_t predictions[TEST], correct = 0;
  if (classify(recipe, predictions))
    return 1;
  for (uint32_t test = 0; test < TEST; test += 1)
    correct += predictions[test] == samples[TRAIN + test];
  float loss = report->head + report->tail;
  text("epoch ");
  number(epoch);
  text("step ");
  number(step);
  text("milliloss ");
  number((uint32_t)(loss * 1000.0f));
  bits(bits_of(loss));
  text("correct ");
  number(correct);
  return print_hash(recipe);
}
#endif

int train(const recipe *recipe) {
  for (uint32_t epoch = 0; epoch < recipe->epochs; epoch += 1) {
    const sse_sam_update *update = 2 * epoch < recipe->epochs ? &recipe->first_stage : &recipe->second_stage;
    for (uint32_t step = 0; step < recipe->steps; step += 1) {
      sse_sam_report report;
      if (put(recipe, epoch, step) ||
          failed("sse_sam_step", sse_sam_step(recipe->network, recipe->batch, update, &report)))
        return 1;
#ifndef LABEL
      if (print_step(recipe, epoch, step, &report))
        return 1;
#endif
    }
  }
#ifdef LABEL
  return print_hash(recipe);
#else
  return 0;
#endif
}
