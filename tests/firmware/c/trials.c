/* Training on the digits through sse_sam.h, in the order and from the start of the Rust trials. */
#include "trials.h"

const uint32_t digits_counts[CLASSES] = {53, 36, 24, 17, 11, 8, 5, 3, 2, 1};
const float digits_normalization[2] = {5.0f, 1.0f / 6.0f};
enum { SIDE = 8 };

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
  if (failed("sse_sam_plan", sse_sam_plan(network, recipe->batch, &recipe->first_stage, NULL, &sizes)))
    return 1;
  if (sizes.floats != recipe->sizes.floats || sizes.weights != recipe->sizes.weights ||
      sizes.parameters != recipe->sizes.parameters || sizes.classes != CLASSES) {
    text("the plan comes to (floats, weights, parameters) ");
    number((uint32_t)sizes.floats);
    number((uint32_t)sizes.weights);
    number((uint32_t)sizes.parameters);
    text("\n");
    return 1;
  }
  return failed("sse_sam_lend", sse_sam_lend(network, recipe->arena, sizes.floats)) ||
         failed("sse_sam_set_normalization", sse_sam_set_normalization(network, recipe->normalization, 2)) ||
         failed("sse_sam_set_tail", sse_sam_set_tail(network, recipe->counts, CLASSES, recipe->eta));
}

/* The training sample at a position of an epoch: every sample once, well mixed. */
static uint32_t sample(uint32_t epoch, uint32_t position) { return (position * 63 + epoch * 29) % TRAIN; }

static const uint8_t *image_of(uint32_t index) { return samples + TRAIN + TEST + index * PIXELS; }

/* A picture moved and mirrored; black outside. */
static void cut(uint8_t to[PIXELS], const uint8_t *from, int top, int left, int flip) {
  for (int y = 0; y < SIDE; y += 1)
    for (int x = 0; x < SIDE; x += 1) {
      int row = y + top, column = x + left;
      int inside = row >= 0 && row < SIDE && column >= 0 && column < SIDE;
      to[y * SIDE + x] = inside ? from[row * SIDE + (flip ? SIDE - 1 - column : column)] : 0;
    }
}

/* Puts the batch of a step into the network, moved and mirrored by position. */
static int put(const recipe *recipe, uint32_t epoch, uint32_t step) {
  for (uint32_t place = 0; place < recipe->batch; place += 1) {
    int position = (int)(step * recipe->batch + place), span = 2 * recipe->crop + 1;
    uint32_t index = sample(epoch, (uint32_t)position);
    uint8_t moved[PIXELS];
    cut(moved, image_of(index), position % span - recipe->crop, position / 3 % span - recipe->crop,
        recipe->crop > 0 && position % 4 == 3);
    if (failed("sse_sam_put_bytes", sse_sam_put_bytes(recipe->network, place, moved, PIXELS, samples[index])))
      return 1;
  }
  return 0;
}

int classify(const recipe *recipe, uint32_t predictions[TEST]) {
  size_t batch = recipe->batch;
  for (size_t first = 0; first < TEST; first += batch) {
    size_t rows = TEST - first < batch ? TEST - first : batch;
    for (size_t row = 0; row < rows; row += 1) {
      const uint8_t *image = image_of((uint32_t)(TRAIN + first + row));
      if (failed("sse_sam_put_bytes", sse_sam_put_bytes(recipe->network, row, image, PIXELS, 0)))
        return 1;
    }
    if (failed("sse_sam_predict", sse_sam_predict(recipe->network, rows, predictions + first, NULL, 0)))
      return 1;
  }
  return 0;
}

/* FNV-1a, 64 bits, over the bits of numbers. */
static uint64_t hash(const float *values, size_t length) {
  uint64_t hash = 0xCBF29CE484222325u;
  for (size_t at = 0; at < length; at += 1)
    for (uint32_t byte = 0, rest = bits_of(values[at]); byte < 4; byte += 1, rest >>= 8)
      hash = (hash ^ (rest & 255)) * 0x100000001B3u;
  return hash;
}

/* `epoch E step S milliloss M BITS correct C hash HIGH LOW` */
static int print_step(const recipe *recipe, const sse_sam_report *report) {
  uint32_t predictions[TEST], correct = 0;
  if (classify(recipe, predictions) ||
      failed("sse_sam_save", sse_sam_save(recipe->network, recipe->weights, recipe->sizes.weights)))
    return 1;
  for (uint32_t test = 0; test < TEST; test += 1)
    correct += predictions[test] == samples[TRAIN + test];
  float loss = report->head + report->tail;
  uint64_t hashed = hash(recipe->weights, recipe->sizes.parameters);
  text("milliloss ");
  number((uint32_t)(loss * 1000.0f));
  bits(bits_of(loss));
  text("correct ");
  number(correct);
  text("hash ");
  bits((uint32_t)(hashed >> 32));
  bits((uint32_t)hashed);
  text("\n");
  return 0;
}

int train(const recipe *recipe) {
  for (uint32_t epoch = 0; epoch < recipe->epochs; epoch += 1) {
    const sse_sam_update *update = 2 * epoch < recipe->epochs ? &recipe->first_stage : &recipe->second_stage;
    for (uint32_t step = 0; step < recipe->steps; step += 1) {
      sse_sam_report report;
      if (put(recipe, epoch, step) ||
          failed("sse_sam_step", sse_sam_step(recipe->network, recipe->batch, update, &report)))
        return 1;
      text("epoch ");
      number(epoch);
      text("step ");
      number(step);
      if (print_step(recipe, &report))
        return 1;
    }
  }
  return 0;
}
